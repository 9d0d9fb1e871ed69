from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    ComprehensiveSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicomseg.read import header as headers
from dicomseg.read import parsing
from node.config.receive import ReceiveConfig
from node.errors import PortBusy
from node.event_log import EventLog
from node.journal.instances import InstanceTable
from node.journal.journal import Journal
from node.journal.states import SeriesState
from node.receive.admission import VERIFICATION
from node.receive.step import ReceiveStep
from node.store.spool import Spool
from tests.support.listening import callers
from tests.support.mr_series import KEY
from tests.support.senders import associate, data_set_of, needs_dcmtk, send_files, storescu

MB = 1_000_000


def _until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.01)


def _wait_until_closed(connection: socket.socket) -> None:
    """Read until the node has closed the connection; a time-out of 8 s is an error."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


# ---- what is kept --------------------------------------------------------------------------------


@pytest.mark.servers
@needs_dcmtk
def test_every_acknowledged_object_is_in_journal_and_spool(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in")
    assert storescu(node.port, *map(str, paths)).returncode == 0
    rows = node.journal.instances.of_series(KEY)
    assert {r.digest for r in rows} == {headers.read_instance(p).digest for p in paths}
    assert {headers.read_instance(r.path).digest for r in rows} == {r.digest for r in rows}
    assert {r.calling_ae for r in rows} == {"STORESCU"}
    (ended,) = node.wait_for("AssociationEnded")
    assert (ended["stored"], ended["same"], ended["outcome"]) == (14, 0, "released")


def test_same_objects_again_are_acknowledged_and_change_nothing(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=3)
    assert send_files(node.port, *paths) == [0, 0, 0]
    before = node.journal.series.get(KEY), node.journal.series.events(KEY), sorted(node.files())
    assert send_files(node.port, *paths) == [0, 0, 0]
    assert (
        node.journal.series.get(KEY),
        node.journal.series.events(KEY),
        sorted(node.files()),
    ) == before
    assert node.wait_for("AssociationEnded", 2)[1]["same"] == 3
    assert node.events("ObjectQuarantined") == []


def _without_uid(ds: Dataset) -> None:
    ds.StudyInstanceUID = ""


def _path_as_uid(ds: Dataset) -> None:
    ds.SeriesInstanceUID = "../../../../tmp/x"


@pytest.mark.parametrize("spoil", [_without_uid, _path_as_uid])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:Value .* contains")
def test_object_that_cannot_be_tracked_is_kept_apart(
    listen: Any, tmp_path: Path, write_series: Any, spoil: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    ds = dcmread(path)
    spoil(ds)
    assert send_files(node.port, ds) == [0]
    (alarm,) = node.wait_for("ObjectQuarantined")
    assert "InstanceUID" in alarm["reason"]
    assert {r.state for r in node.journal.series.in_states()} == {SeriesState.QUARANTINED}
    assert [p.parent.parent.name for p in node.files()] == ["quarantine"]


# ---- what is negotiated --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([ImplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([ImplicitVRLittleEndian, JPEGLSLossless], JPEGLSLossless),
        ([JPEG2000, JPEGBaseline8Bit, ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ([JPEGBaseline8Bit], JPEGBaseline8Bit),
    ],
)
def test_syntax_is_ours_to_choose_lossless_and_explicit_first(
    listen: Any, offered: list[str], taken: str
) -> None:
    assoc = associate(listen().port, (MRImageStorage, offered))
    assert [c.transfer_syntax[0] for c in assoc.accepted_contexts] == [taken]
    assoc.release()


def test_everything_a_pacs_may_route_is_accepted(listen: Any) -> None:
    classes = [
        MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, CTImageStorage,
        SegmentationStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage,
        EncapsulatedPDFStorage, VERIFICATION,
    ]  # fmt: skip
    assoc = associate(listen().port, *[(c, [ExplicitVRLittleEndian]) for c in classes])
    assert {c.abstract_syntax for c in assoc.accepted_contexts} == set(classes)
    assert assoc.send_c_echo().Status == 0
    assoc.release()


# ---- who and what is refused ---------------------------------------------------------------------


def test_strangers_are_rejected_with_the_reason(listen: Any) -> None:
    node = listen(caller=callers("SCANNER"))
    for titles, reason in (
        ({"called": "OTHER"}, "called AE title 'OTHER' is not ours"),
        ({"calling": "STRANGER"}, "calling AE title 'STRANGER' with this address is in no"),
    ):
        assoc = associate(node.port, **titles)
        assert assoc.is_rejected
        assert reason in node.events("AssociationRefused")[-1]["reason"]
    assert associate(node.port).is_established


def test_address_of_no_caller_gets_no_word(listen: Any) -> None:
    node = listen(caller=callers("", address="10.0.0.0/8"))
    with socket.create_connection(("127.0.0.1", node.port), timeout=8) as connection:
        _wait_until_closed(connection)
    assert "address is in no" in node.wait_for("AssociationRefused")[0]["reason"]


def test_full_disk_refuses_associations_until_there_is_space(listen: Any) -> None:
    free = {"mb": 500}
    node = listen(disk_low_mb=100, disk_high_mb=200, free=lambda: free["mb"] * MB)
    taken = []
    for free_mb in (500, 99, 150, 200):
        free["mb"] = free_mb
        assoc = associate(node.port)
        taken.append(assoc.is_established)
        if assoc.is_established:
            assoc.release()
    assert taken == [True, False, False, True]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), RuntimeError("Doe^Jane")]
)
def test_fault_while_writing_is_out_of_resources_and_the_association_goes_on(
    listen: Any, tmp_path: Path, write_series: Any, monkeypatch: Any, fault: Exception
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=2)
    sync = os.fdatasync
    faults = iter([fault])

    def fail_once(handle: int) -> None:
        for error in faults:
            raise error
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    assert send_files(node.port, *paths) == [0xA700, 0]
    assert [r.sop_instance_uid for r in node.journal.instances.of_series(KEY)] == ["1.2.3.2"]
    assert "Doe" not in node.log.getvalue()


def test_journal_that_cannot_be_written_means_no_success(
    listen: Any, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(InstanceTable, "add_all", broken)
        assert send_files(node.port, path) == [0xA700]
    assert send_files(node.port, path) == [0]
    assert node.journal.series.get(KEY).instances == 1


def test_object_above_the_limit_is_refused_and_a_much_larger_one_cut_off(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen(max_object_mb=1)
    (path,) = write_series(tmp_path / "in", slices=1)
    ds = dcmread(path)
    statuses = []
    for size in (900_000, 1_200_000, 4_000_000):
        ds.PixelData = bytes(size)
        ds.SOPInstanceUID = f"1.2.3.{size}"
        statuses += send_files(node.port, ds)
    assert statuses == [0, 0xA700, -1]
    assert len(node.files()) == 1


# ---- hostile and broken connections --------------------------------------------------------------


def _request_bytes(port: int) -> bytes:
    """An A-ASSOCIATE-RQ for MR images, as pynetdicom would send it."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(8)

        def take() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(8)
                seen.append(connection.recv(1 << 16))

        thread = threading.Thread(target=take)
        thread.start()
        associate(listener.getsockname()[1])
        thread.join(10)
    return seen[0]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x01\x00\x00\x00",
        b"\x01\x00\x00\x00\x01\x00half",
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff" + bytes(4096),
        b"\x99\x00\x00\x00\x00\x04oops",
    ],
    ids=["silent", "half a header", "half a PDU", "HTTP", "4 GiB PDU", "unknown PDU"],
)
def test_connection_that_makes_no_sense_is_closed_and_others_get_in(
    listen: Any, said: bytes
) -> None:
    node = listen(idle_seconds=0.4)
    with socket.create_connection(("127.0.0.1", node.port), timeout=8) as connection:
        connection.sendall(said)
        other = associate(node.port)
        assert other.is_established
        other.release()
        _wait_until_closed(connection)
    began = time.monotonic()
    node.receiver.stop(5.0)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "said",
    [
        b"\x04\x00\x00\x00\x10\x00" + bytes(100),
        b"\x04\x00\xff\xff\xff\xf0" + bytes(100),
        b"\x04\x00\x00\x00\x00\x06\xff\xff\xff\xff\x01\x03",
    ],
    ids=["stalls in a PDU", "4 GiB PDU", "4 GiB item"],
)
def test_sender_that_stalls_or_lies_after_negotiation_is_closed(listen: Any, said: bytes) -> None:
    node = listen(idle_seconds=0.4)
    with socket.create_connection(("127.0.0.1", node.port), timeout=8) as connection:
        connection.sendall(_request_bytes(node.port))
        assert connection.recv(6)[:1] == b"\x02"
        connection.sendall(said)
        _wait_until_closed(connection)
    node.wait_for("AssociationEnded")
    began = time.monotonic()
    node.receiver.stop(5.0)
    assert time.monotonic() - began < 3


def test_sender_that_leaves_in_the_middle_of_an_object_leaves_nothing(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=2)
    command = Dataset()
    command.AffectedSOPClassUID, command.CommandField, command.MessageID = MRImageStorage, 1, 1
    command.Priority, command.CommandDataSetType = 0, 1
    command.AffectedSOPInstanceUID = "1.2.3.2"
    from pynetdicom.dsutils import encode

    body = encode(command, is_implicit_vr=True, is_little_endian=True)
    assert body is not None
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    raw = paths[1].read_bytes()
    half = raw[parsing.split_file_meta(raw)[0] :][:200]

    def pdata(control: int, fragment: bytes) -> bytes:
        item = struct.pack(">IBB", len(fragment) + 2, 1, control) + fragment
        return struct.pack(">BBI", 4, 0, len(item)) + item

    assert send_files(node.port, paths[0]) == [0]
    with socket.create_connection(("127.0.0.1", node.port), timeout=8) as connection:
        connection.sendall(_request_bytes(node.port))
        assert connection.recv(1 << 16)[:1] == b"\x02"
        connection.sendall(pdata(3, body) + pdata(0, half))
    ended = node.wait_for("AssociationEnded", 2)[1]
    assert (ended["stored"], ended["outcome"] == "released") == (0, False)
    assert [r.sop_instance_uid for r in node.journal.instances.of_series(KEY)] == ["1.2.3.1"]
    assert len(node.files()) == 1


# ---- life cycle ----------------------------------------------------------------------------------


def test_busy_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        journal = Journal.open(tmp_path / "journal.sqlite", time.time)
        receiver = ReceiveStep(
            ReceiveConfig(), "NODE", "127.0.0.1", port, Spool(tmp_path), journal,
            EventLog("t", StringIO()).event, lambda: 1,
        )  # fmt: skip
        with pytest.raises(PortBusy, match=f"127.0.0.1:{port}: Address already in use") as caught:
            receiver.start()
        assert caught.value.exit_code == 2
        journal.close()


def test_stop_lets_an_open_association_finish(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=2)
    assoc = associate(node.port)
    assert assoc.send_c_store(paths[0]).Status == 0
    left: list[int] = []
    stopping = threading.Thread(target=lambda: left.append(node.receiver.stop(5.0)))
    stopping.start()

    def closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", node.port)) != 0

    _until(closed)
    assert assoc.send_c_store(paths[1]).Status == 0
    assoc.release()
    stopping.join(8)
    assert left == [0]
    assert node.journal.series.get(KEY).instances == 2


def test_stop_ends_an_association_that_does_not(listen: Any) -> None:
    node = listen()
    assoc = associate(node.port)
    assert node.receiver.stop(0.2) == 1
    _until(lambda: not assoc.is_established)


_NODE = """
import sys, time, threading
from pathlib import Path
from node.config.receive import ReceiveConfig
from node.event_log import EventLog
from node.journal.journal import Journal
from node.receive.step import ReceiveStep
from node.store.spool import Spool
state = Path(sys.argv[1])
spool, journal = Spool(state), Journal.open(state / "journal.sqlite", time.time)
print(ReceiveStep(ReceiveConfig(), "NODE", "127.0.0.1", 0, spool, journal, EventLog("t").event, lambda: 1 << 60).start(), flush=True)
threading.Event().wait(60)
"""


@pytest.mark.servers
@needs_dcmtk
@pytest.mark.parametrize("slices_before_the_kill", [1, 17])
def test_kill_in_the_middle_of_receiving_loses_nothing_acknowledged(
    tmp_path: Path, write_series: Any, slices_before_the_kill: int
) -> None:
    paths = write_series(tmp_path / "in", slices=200)
    state = tmp_path / "state"
    child = subprocess.Popen(
        [sys.executable, "-c", _NODE, str(state)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    port = child.stdout.readline().strip()
    sender = subprocess.Popen(
        ["storescu", "-v", "-aec", "NODE", "127.0.0.1", port, *map(str, paths)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert sender.stdout is not None
    said = ""
    for line in sender.stdout:
        said += line
        if said.count("Received Store Response (Success)") == slices_before_the_kill:
            os.kill(child.pid, signal.SIGKILL)
            break
    said += sender.stdout.read()
    sender.wait(20)
    child.wait(20)
    child.stdout.close()
    sender.stdout.close()
    acknowledged = said.count("Received Store Response (Success)")
    sent = re.findall(r"Sending file: (\S+)", said)[:acknowledged]
    assert slices_before_the_kill <= acknowledged < 200
    journal = Journal.open(state / "journal.sqlite", time.time)
    kept = {headers.read_instance(r.path).digest for r in journal.instances.of_series(KEY)}
    assert {headers.read_instance(Path(p)).digest for p in sent} <= kept
    assert journal.series.get(KEY).instances == len(kept)
    journal.close()


@pytest.mark.servers
@needs_dcmtk
def test_same_series_from_four_senders_at_once_and_again_is_one(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = [str(p) for p in write_series(tmp_path / "in", slices=16)]
    for _ in range(2):
        with ThreadPoolExecutor(4) as senders:
            sent = list(senders.map(lambda _: storescu(node.port, *paths), range(4)))
        assert [s.returncode for s in sent] == [0, 0, 0, 0]
    rows = node.journal.instances.of_series(KEY)
    assert sorted(node.files()) == sorted(r.path for r in rows)
    assert len(rows) == 16
    ended = node.wait_for("AssociationEnded", 8)
    assert sum(e["stored"] for e in ended) == 16
    assert sum(e["same"] for e in ended) == 112


def test_unfinished_bytes_of_all_senders_are_bounded(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen(max_unfinished_mb=2)
    (path,) = write_series(tmp_path / "in", slices=1)
    with raw_peer(node.port).associate() as first, raw_peer(node.port).associate() as second:
        for peer in (first, second):
            peer.send(
                peer.fragment(3, peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.9"))
            )
        first.send(first.fragment(0, bytes(900_000)) * 2)
        _until(lambda: any(p.stat().st_size > 1_700_000 for p in node.files()))
        second.send(second.fragment(2, bytes(900_000)))
        assert second.status() == 0xA700
        first.link.close()
        node.wait_for("AssociationEnded")
        assert second.store(data_set_of(path), "1.2.3.1") == 0
    (refused,) = node.events("ObjectRefused")
    assert refused["peer"] == "127.0.0.1"
    assert "max_unfinished_mb" in refused["reason"]
    assert len(node.files()) == 1


# ---- rates ---------------------------------------------------------------------------------------


def test_too_many_associations_of_one_address_are_rejected_for_now(
    listen: Any, raw_peer: Any
) -> None:
    node = listen(max_associations_per_minute=2)
    for _ in range(2):
        assoc = associate(node.port)
        assert assoc.is_established
        assoc.release()
    assert associate(node.port).is_rejected
    (line,) = node.wait_for("AssociationRefused")
    assert "[receive] max_associations_per_minute" in line["reason"]
    for _ in range(5):  # a monitor's C-ECHO is neither counted nor rejected
        assoc = associate(node.port, VERIFICATION)
        assert assoc.send_c_echo().Status == 0
        assoc.release()
    with raw_peer(node.port, source="127.0.0.2") as other:
        other.associate()


def test_sender_above_its_rate_is_slowed_down_and_loses_nothing(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen(max_mb_per_minute=1)
    (path,) = write_series(tmp_path / "in", slices=1)
    ds = dcmread(path)
    ds.add_new(
        0x00091010, "OB", bytes(1_030_000)
    )  # 1.8 s of the rate above what a minute may bring
    began_s = time.monotonic()
    assert send_files(node.port, ds) == [0]
    assert time.monotonic() - began_s > 1.5
    assert len(node.journal.instances.of_series(KEY)) == 1
