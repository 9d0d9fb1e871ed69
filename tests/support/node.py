"""Small MR series on disk, and a clock that stands still until told."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.config.sections import ReceiveConfig
from node.events import EventLog
from node.journal.journal import Journal
from node.journal.rows import NewInstance
from node.receive.step import ReceiveStep
from node.store.spool import Spool

WriteSeries = Callable[..., list[Path]]


def _slice(number: int, series: str, changes: dict[str, Any]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.1", series, "1.2.9"
    ds.PatientName, ds.PatientID, ds.Modality = "Test^Node", "T1", "MR"
    ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = 3, number, "t2_spc"
    ds.ImageType, ds.BodyPartExamined = ["ORIGINAL", "PRIMARY", "M", "ND"], "LSPINE"
    ds.ScanningSequence, ds.MRAcquisitionType, ds.SequenceName = "SE", "3D", "*spcR"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 2800.0, 189.0, 60
    ds.Rows = ds.Columns = 4
    ds.PixelSpacing, ds.SliceThickness = [1.0, 1.0], 1.0
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0.0, 0.0, float(number)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = bytes(range(number, number + 32))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def write_series() -> WriteSeries:
    """Write a T2 SPACE series of 4 × 4 pixels; keywords change attributes of every slice."""

    def write(
        folder: Path, *, series: str = "1.2.3", slices: int = 14, **changes: Any
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number in range(1, slices + 1):
            path = folder / f"{series}.{number}.dcm"
            _slice(number, series, changes).save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    return write


class Clock:
    """A `node.clock.Clock` that passes when told, and whose wall time may jump; called, it gives wall time."""

    def __init__(self) -> None:
        self.passed_s, self.jumped_s = 0.0, 1_700_000_000.0

    def __call__(self) -> float:
        return self.wall()

    def wall(self) -> float:
        return self.jumped_s + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s

    def since(self, at: float) -> float:
        return max(0.0, self.wall() - at)

    def pass_s(self, seconds: float) -> None:
        self.passed_s += seconds

    def jump_s(self, seconds: float) -> None:
        """Set the wall clock."""
        self.jumped_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


@pytest.fixture
def facts(tmp_path: Path) -> Callable[..., NewInstance]:
    """Objects of series 1.2.3 in study 1.2.1, by number and digest."""

    def make(number: int, digest: str = "", **changes: Any) -> NewInstance:
        name = digest or f"d{number}"
        path = tmp_path / "spool" / f"{name}.dcm"
        made = NewInstance(
            f"1.2.3.{number}", "1.2", "1.2.1", "1.2.3", name, "1.2.840", path, 7, "MR1"
        )
        return replace(made, **changes)

    return make


# ---- reception -----------------------------------------------------------------------------------


@dataclass
class Listening:
    """A receiver on a free port, and what it wrote."""

    receiver: ReceiveStep
    journal: Journal
    spool: Spool
    port: int
    log: StringIO

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        ends_at = time.monotonic() + 8
        while len(self.events(name)) < count:
            assert time.monotonic() < ends_at, f"no {name} in time"
            time.sleep(0.01)
        return self.events(name)

    def files(self) -> list[Path]:
        return [
            p
            for p in self.spool.directory.root.rglob("*")
            if p.is_file() and p.suffix in {".dcm", ".part"}
        ]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Listening]]:
    started: list[Listening] = []

    def start(*, free: Callable[[], int] = lambda: 1 << 60, **receive: Any) -> Listening:
        spool, log = Spool(tmp_path / "state"), StringIO()
        journal = Journal.open(tmp_path / "state" / "journal.sqlite", time.time)
        receiver = ReceiveStep(
            ReceiveConfig(**receive),
            "NODE",
            "127.0.0.1",
            0,
            spool,
            journal,
            EventLog("t", log),
            free,
        )
        started.append(Listening(receiver, journal, spool, receiver.start(), log))
        return started[-1]

    yield start
    for one in started:
        one.receiver.stop(1.0)
        one.journal.close()


_FRAGMENT = 100_000


class RawPeer:
    """A peer that writes the bytes it is told to, right ones and wrong ones (PS3.8 section 9.3)."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self.link = socket.create_connection(("127.0.0.1", port), 8, source_address=(source, 0))

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    @staticmethod
    def request(
        *contexts: tuple[str, tuple[str, ...]],
        calling: bytes = b"RAW".ljust(16),
        called: bytes = b"NODE".ljust(16),
    ) -> bytes:
        """An A-ASSOCIATE-RQ; contexts are classes with their transfer syntaxes, MR images without any."""

        def item(kind: int, value: bytes) -> bytes:
            return struct.pack(">BxH", kind, len(value)) + value

        body = struct.pack(">Hxx", 1) + called + calling + bytes(32)
        body += item(0x10, b"1.2.840.10008.3.1.1.1")
        wanted = contexts or ((MRImageStorage, (ExplicitVRLittleEndian,)),)
        for number, (sop_class, syntaxes) in enumerate(wanted):
            items = item(0x30, sop_class.encode())
            items += b"".join(item(0x40, s.encode()) for s in syntaxes)
            body += item(0x20, bytes([2 * number + 1, 0, 0, 0]) + items)
        body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4"))
        return struct.pack(">BxI", 1, len(body)) + body

    @staticmethod
    def fragment(control: int, data: bytes, context: int = 1) -> bytes:
        """A P-DATA-TF of one value; control: 1 command, 2 last."""
        value = struct.pack(">IBB", len(data) + 2, context, control) + data
        return struct.pack(">BxI", 4, len(value)) + value

    @staticmethod
    def command(field: int, *, sop_class: str, sop_instance: str = "", data: bool = True) -> bytes:
        """A command set of a request."""

        def element(number: int, value: bytes) -> bytes:
            value += bytes(len(value) % 2)
            return struct.pack("<HHI", 0, number, len(value)) + value

        body = element(0x0002, sop_class.encode()) + element(0x0100, struct.pack("<H", field))
        body += element(0x0110, struct.pack("<H", 7))
        body += element(0x0800, struct.pack("<H", 1 if data else 0x0101))
        if sop_instance:
            body += element(0x1000, sop_instance.encode())
        return element(0x0000, struct.pack("<I", len(body))) + body

    def send(self, raw: bytes) -> RawPeer:
        """Write bytes; a node that has closed is no error here, what it said last is read."""
        with suppress(OSError):
            self.link.sendall(raw)
        return self

    def associate(self, *contexts: tuple[str, tuple[str, ...]]) -> RawPeer:
        """Get an association."""
        kind, _ = self.send(self.request(*contexts)).read()
        assert kind == 2
        return self

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; 0 when the node has closed."""
        head = self._take(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._take(int.from_bytes(head[2:6], "big"))

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            try:
                piece = self.link.recv(count - len(taken))
            except ConnectionResetError:
                break
            if not piece:
                break
            taken += piece
        return taken

    def store(
        self, data: bytes, sop_instance: str, sop_class: str = MRImageStorage, context: int = 1
    ) -> int:
        """Send one object; returns the status, -1 when there is none."""
        asked = self.command(1, sop_class=sop_class, sop_instance=sop_instance)
        self.send(self.fragment(3, asked, context))
        for at in range(0, len(data) or 1, _FRAGMENT):
            last = at + _FRAGMENT >= len(data)
            self.send(self.fragment(2 * last, data[at : at + _FRAGMENT], context))
        return self.status()

    def status(self) -> int:
        """Status of the response that comes next, -1 when none comes."""
        kind, body = self.read()
        at = body.find(b"\x00\x00\x00\x09\x02\x00\x00\x00") if kind == 4 else -1
        return int.from_bytes(body[at + 8 : at + 10], "little") if at >= 0 else -1


@pytest.fixture
def raw_peer() -> type[RawPeer]:
    """Connect to a port: `raw_peer(port)`."""
    return RawPeer
