"""Mutated objects through reception's own code, and mutated PDUs on a real socket.

`FUZZ=10` sends 20,000 objects and 2,000 connections; a tenth of it is the default. Seeded: the same
inputs at every run of one size.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    RLELossless,
)

from dicomseg.errors import InputRefused
from dicomseg.read import header as headers
from dicomseg.read import parsing
from dicomseg.read.series import assemble
from node.journal.states import InstanceState
from node.receive.association import OUT_OF_RESOURCES, SUCCESS
from node.receive.dimse import C_STORE_RQ, Command
from node.store import spool as spooling

SCALE: Final = int(os.environ.get("FUZZ", "1"))
OBJECTS: Final = 2_000 * SCALE
CONNECTIONS: Final = 200 * SCALE
GROWTH_MB: Final = 300
"""Memory that the complete run may add to the process."""

Mutation = Callable[[random.Random, bytearray], None]


# ---- valid objects -------------------------------------------------------------------------------


def _nested(depth: int) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "SRT", "some place"
    if depth:
        item.AnatomicRegionSequence = [_nested(depth - 1), _nested(0)]
        item["AnatomicRegionSequence"].is_undefined_length = depth % 2 == 0
    return item


def _enhanced(ds: Dataset) -> None:
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedMRImageStorage, 3
    frames = []
    for number in range(3):
        frame, plane, turned = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient, turned.ImageOrientationPatient = (
            [0, 0, number],
            [1, 0, 0, 0, 1, 0],
        )
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [plane], [turned]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    ds.PixelData = bytes(range(96))


def _sequences(ds: Dataset) -> None:
    ds.AnatomicRegionSequence = [_nested(5), _nested(2)]
    ds["AnatomicRegionSequence"].is_undefined_length = True
    block = ds.private_block(0x0019, "SOMEBODY", create=True)
    block.add_new(0x01, "UN", bytes(40))
    block.add_new(0x02, "FD", [1.0, 2.0])


def _encapsulated(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encapsulate([bytes(range(200)), bytes(30)])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"


def _plain(_: Dataset) -> None:
    """Leave the object as it is."""


def _encoded(path: Path, change: Callable[[Dataset], None], syntax: str) -> tuple[str, bytes]:
    """One valid object: its transfer syntax and its data set, not deflated yet."""
    ds = dcmread(path)
    change(ds)
    ds.private_block(0x7FE1, "SOMEBODY", create=True).add_new(0x01, "OB", bytes(1500))
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    if syntax == ExplicitVRBigEndian:
        del ds.PixelData
    if change is not _encapsulated:
        ds.file_meta.TransferSyntaxUID = syntax
    if syntax == DeflatedExplicitVRLittleEndian:
        return syntax, _encoded(path, change, ExplicitVRLittleEndian)[1]
    out = BytesIO()
    pydicom.dcmwrite(
        out, ds, implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True,
    )  # fmt: skip
    raw = out.getvalue()
    return str(ds.file_meta.TransferSyntaxUID), raw[parsing.split_file_meta(raw)[0] :]


def _valid(paths: list[Path]) -> list[tuple[str, bytes]]:
    native = (
        ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    )  # fmt: skip
    found = []
    for path in paths:
        for change in (_plain, _enhanced, _sequences):
            found += [_encoded(path, change, syntax) for syntax in native]
        found.append(_encoded(path, _encapsulated, ExplicitVRLittleEndian))
        found.append(_encoded(path, _plain, RLELossless))
    return found


# ---- mutations -----------------------------------------------------------------------------------


def _place(draw: random.Random, data: bytearray) -> int:
    """An offset, more often in the header than in the pixels."""
    end = len(data) if draw.random() < 0.5 else min(len(data), 700)
    return draw.randrange(max(1, end))


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        at = _place(draw, data)
        data[at : at + 1] = bytes([data[at] ^ (1 << draw.randrange(8))]) if at < len(data) else b""


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[_place(draw, data) :]


def _remove(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    del data[at : at + draw.choice((1, 2, 4, 8, 100))]


def _insert(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    data[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))


def _repeat(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    piece = data[at : at + draw.choice((8, 40, 300))]
    data[at:at] = piece * draw.choice((1, 3, 50))


def _length(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data) & ~1
    size = draw.choice((2, 4))
    values = (0, 1, 3, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, draw.getrandbits(32))
    data[at : at + size] = struct.pack("<I", draw.choice(values))[:size]


def _vr(draw: random.Random, data: bytearray) -> None:
    kinds = (b"US", b"SQ", b"UN", b"OB", b"UI", b"DS", b"FD", b"UT", b"AT", b"PN", b"ZZ", b"\0\0")
    found = [at for kind in kinds for at in [data.find(kind, draw.randrange(max(1, len(data))))]]
    places = [at for at in found if at >= 0]
    if places:
        at = draw.choice(places)
        data[at : at + 2] = draw.choice(kinds)


def _nest(draw: random.Random, data: bytearray) -> None:
    at, depth = _place(draw, data), draw.choice((1, 10, 63, 65, 500, 3000))
    opened = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    data[at:at] = opened * depth + closed * draw.choice((depth, depth - 1, 0))


def _delimiter(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    data[at:at] = struct.pack("<HHI", 0xFFFE, draw.choice((0xE000, 0xE00D, 0xE0DD)), 0)


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _flip, _cut, _remove, _insert, _repeat, _length, _vr, _nest, _delimiter,
)  # fmt: skip
SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, "1.2.3.4.5",
)  # fmt: skip


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def _mutated(draw: random.Random, syntax: str, data: bytes) -> tuple[str, bytes]:
    """Mutate one object: inside its deflate stream or outside, not at all or several times, or its label."""
    raw = bytearray(data)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    outside = deflated and draw.random() < 0.3
    if outside:
        raw = bytearray(_deflated(data))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        if raw:
            draw.choice(MUTATIONS)(draw, raw)
    if draw.random() < 0.05:
        syntax = draw.choice(SYNTAXES)
    return syntax, _deflated(bytes(raw)) if deflated and not outside else bytes(raw)


# ---- objects -------------------------------------------------------------------------------------


class _Sender:
    """What `ReceiveStep` knows of an association."""

    address, calling = "127.0.0.1", "FUZZ"
    stored = same = 0


def _meets(node: Any, syntax: str, sop: str, data: bytes) -> int:
    """Take one object through reception; returns the status."""
    command = Command(C_STORE_RQ, 1, MRImageStorage, sop, has_data=True)
    arrival = node.receiver.begin(_Sender, command, syntax)
    for at in range(0, len(data), 1000):
        arrival.write(memoryview(data)[at : at + 1000])
    status, comment = node.receiver.store(_Sender, command, syntax, arrival)
    arrival.close()
    assert status in {SUCCESS, OUT_OF_RESOURCES}
    assert comment or status == SUCCESS
    return int(status)


@contextmanager
def _healthy_sender(node: Any, raw_peer: Any, data: bytes, sop: str) -> Iterator[list[int]]:
    """Store a valid object again and again over the network, in associations of its own."""
    stop, statuses = threading.Event(), []

    def run() -> None:
        while not stop.wait(0.05):
            with raw_peer(node.port).associate() as peer:
                peer.link.settimeout(30)
                statuses.append(peer.store(data, sop))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture
def faults(monkeypatch: Any) -> list[str]:
    """Exceptions that ended a thread uncaught."""
    found: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(repr(args.exc_value)))
    return found


def _every_row_has_its_file(node: Any) -> dict[str, list[Path]]:
    """Compare journal and disk, both ways; returns the stored files by series."""
    stored, rows = defaultdict(list), []
    for series in node.journal.series.in_states():
        rows += node.journal.instances.unused(series.key)
        for row in node.journal.instances.of_series(series.key):
            rows.append(row)
            stored[series.key.series].append(row.path)
    assert {r.path for r in rows} == {p for p in node.files() if p.suffix == ".dcm"}
    assert [p for p in node.files() if p.suffix == ".part"] == []
    for row in rows:
        assert row.reason or row.state is InstanceState.STORED
    return stored


def _read_all(stored: dict[str, list[Path]]) -> Counter[str]:
    """Read and assemble what was accepted; nothing but a refusal may be raised."""
    answers: Counter[str] = Counter()
    for paths in stored.values():
        instances = []
        for path in paths:
            try:
                instances.append(headers.read_instance(path))
            except InputRefused:
                answers["refused by the reader"] += 1
        try:
            answers[type(assemble(instances)).__name__] += 1
        except InputRefused:
            answers["refused series"] += 1
    return answers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300 * SCALE)
def test_every_mutated_object_is_stored_or_kept_apart_with_its_reason(
    listen: Any,
    raw_peer: Any,
    tmp_path: Path,
    write_series: Any,
    monkeypatch: Any,
    faults: list[str],
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: None)  # durability has its own tests
    monkeypatch.setattr(spooling, "sync_folder", lambda _: None)
    node = listen()
    node.journal.database.connection.execute("PRAGMA synchronous = OFF")
    draw = random.Random(22)
    valid = _valid(write_series(tmp_path / "in", slices=1))
    healthy = _encoded(
        *write_series(tmp_path / "well", series="1.7.7", slices=1), _plain, ExplicitVRLittleEndian
    )[1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statuses: Counter[int] = Counter()
    with _healthy_sender(node, raw_peer, healthy, "1.7.7.1") as served:
        for number in range(OBJECTS):
            syntax, data = draw.choice(valid)
            sop = b"1.2.3.1"
            if draw.random() < 0.9:  # else a known UID, to be compared
                sop = f"1.{10_000 + number:05}".encode()
                data = data.replace(b"1.2.3.1", sop)
            syntax, data = _mutated(draw, syntax, data)
            statuses[_meets(node, syntax, sop.decode(), data)] += 1
    assert served
    assert set(served) == {SUCCESS}
    assert faults == []
    assert statuses[SUCCESS] == OBJECTS
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert grown < GROWTH_MB
    stored = _every_row_has_its_file(node)
    answers = _read_all(stored)
    reasons = Counter(r.reason.split(":")[0] for r in node.journal.instances.quarantined())
    sys.stdout.write(
        f"{OBJECTS} objects, {sum(map(len, stored.values()))} stored, {reasons.total()} kept apart, {len(served)} of a healthy sender, {grown:.0f} MB more; read: {dict(answers)}; {reasons.most_common(8)}\n"
    )


# ---- PDUs ----------------------------------------------------------------------------------------


def _dialogue(peer: Any, data: bytes) -> list[bytes]:
    """Everything that a sender of one object writes."""
    command = peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.1")
    return [
        peer.request(),
        peer.fragment(3, command),
        peer.fragment(0, data[:200]),
        peer.fragment(2, data[200:]),
        b"\5\0\0\0\0\4\0\0\0\0",
    ]


def _mutated_pdus(draw: random.Random, pdus: list[bytes]) -> list[bytes]:
    said = [bytearray(p) for p in pdus]
    for _ in range(draw.choice((1, 1, 2, 3))):
        victim = draw.choice(said)
        action = draw.randrange(6)
        if action == 0:
            said.insert(draw.randrange(len(said)), bytearray(draw.choice(said)))
        elif action == 1 and len(said) > 1:
            said.remove(victim)
        elif action == 2 and len(victim) > 6:
            victim[draw.randrange(6)] = draw.randrange(256)  # type or length
        elif action == 3:
            said = [*said[: draw.randrange(len(said)) + 1], bytearray(draw.randbytes(40))]
        elif victim:
            draw.choice((_flip, _cut, _remove, _insert, _length))(draw, victim)
    return [bytes(p) for p in said if p] or [b"\0"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300 * SCALE)
def test_every_mutated_connection_has_one_line_and_others_are_served(
    listen: Any,
    raw_peer: Any,
    tmp_path: Path,
    write_series: Any,
    monkeypatch: Any,
    faults: list[str],
) -> None:
    monkeypatch.setattr("node.receive.association.LINGER_S", 0.05)
    node = listen(idle_seconds=2, max_associations=30, max_associations_per_peer=30)
    paths = write_series(tmp_path / "in", slices=2)
    data = _encoded(paths[0], _plain, ExplicitVRLittleEndian)[1]
    healthy = _encoded(paths[1], _plain, ExplicitVRLittleEndian)[1]
    draw = random.Random(7)

    def attack(number: int) -> None:
        said = _mutated_pdus(random.Random(number), _dialogue(raw_peer, data))
        with raw_peer(node.port, source=f"127.1.{number // 200}.{number % 200 + 1}") as peer:
            peer.link.settimeout(10)
            for pdu in said:
                peer.send(pdu)
            if number % 3:
                peer.link.shutdown(1)
            while peer.read()[0]:
                pass

    with (
        _healthy_sender(node, raw_peer, healthy, "1.2.3.2") as served,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(attack, draw.sample(range(CONNECTIONS), CONNECTIONS)))
    ends_at = time.monotonic() + 20
    while len(_ends(node)) < CONNECTIONS:
        assert time.monotonic() < ends_at, "an end without a line"
        time.sleep(0.05)
    assert set(served) == {SUCCESS}
    assert faults == []
    lines = Counter(e["peer"] for e in _ends(node))
    assert set(lines.values()) == {1}
    assert len(lines) == CONNECTIONS
    _every_row_has_its_file(node)
    assert node.receiver.stop(5.0) == 0
    sys.stdout.write(f"{CONNECTIONS} connections, {len(served)} of a healthy sender\n")


def _ends(node: Any) -> list[dict[str, Any]]:
    ends = [*node.events("AssociationRefused"), *node.events("AssociationEnded")]
    return [e for e in ends if e["peer"] != "127.0.0.1"]
