"""Storage commitment that others ask of the node (PS3.4 annex J): checked, reported, and hostile requests."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage

from node.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    Reference,
    Request,
    encoded,
    new_transaction_uid,
    request_data_set,
)
from node.deliver.dicom import Pacs
from node.deliver.report import ReportStep
from node.events import CommitmentNotAnswered, Event, noop_log
from node.journal.commitments import RequestState
from node.receive import commitment
from node.receive.commitment import Archive
from node.receive.held import HeldStep
from tests.support.commitment import Modality
from tests.support.listening import callers
from tests.support.mr_series import KEY
from tests.support.senders import send_files

pytestmark = [pytest.mark.servers]


def _until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.02)


def _reference(number: int, series: str = KEY.series) -> Reference:
    return Reference(MRImageStorage, f"{series}.{number}")


@contextmanager
def _checking(node: Any) -> Iterator[None]:
    """Run the step that looks which objects are held, in a thread of its own."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            HeldStep(node.journal).run_once()
        node.journal.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def node(listen: Any, tmp_path: Path, write_series: Any) -> Any:
    """A receiver with three stored images."""
    listening = listen()
    assert send_files(listening.port, *write_series(tmp_path / "in", slices=3)) == [0, 0, 0]
    return listening


def test_report_comes_over_the_same_association_while_it_stays_open(node: Any) -> None:
    modality = Modality()
    with _checking(node):
        uid, status = modality.ask(node.port, [_reference(n) for n in (1, 2, 3)], stay_s=5)
        node.wait_for("CommitmentAnswered")
    assert status == 0
    (report,) = modality.reports
    assert report.transaction_uid == uid
    assert set(report.committed) == {f"{KEY.series}.{n}" for n in (1, 2, 3)}
    assert report.failed == {}
    assert [r.transaction_uid for r in node.journal.commitments.requests(RequestState.REPORTED)] == [uid]  # fmt: skip


def test_report_names_what_is_not_held_and_why(node: Any) -> None:
    (lost,) = node.journal.instances.named(f"{KEY.series}.2")
    content = bytearray(lost.path.read_bytes())
    content[-1] ^= 1
    lost.path.chmod(0o600)
    lost.path.write_bytes(content)
    asked = [_reference(1), _reference(2), _reference(9), Reference(SegmentationStorage, f"{KEY.series}.3")]  # fmt: skip
    modality = Modality()
    with _checking(node):
        modality.ask(node.port, asked, stay_s=5)
    (report,) = modality.reports
    assert report.committed == (f"{KEY.series}.1",)
    assert report.failed == {
        f"{KEY.series}.2": 0x0110,
        f"{KEY.series}.9": 0x0112,
        f"{KEY.series}.3": 0x0119,
    }


def test_peer_that_releases_at_once_gets_its_report_over_an_association_of_ours(node: Any) -> None:
    modality = Modality()
    uid, status = modality.ask(node.port, [_reference(1), _reference(7)])
    assert status == 0
    node.wait_for("AssociationEnded", 2)
    HeldStep(node.journal).run_once()
    with modality.listening() as port:
        peer = Pacs("mr", "MR1", "127.0.0.1", port, "NODE", 5.0)
        step = ReportStep(node.journal, {"MR1": peer}, time.time, lambda: 0.0, noop_log)
        _until(lambda: step.run_once() == 1)
    (report,) = modality.reports
    assert (report.transaction_uid, report.committed) == (uid, (f"{KEY.series}.1",))
    assert report.failed == {f"{KEY.series}.7": 0x0112}
    assert step.run_once() == 0


def test_killed_before_the_report_the_next_start_sends_it(
    node: Any, listen: Any, tmp_path: Path
) -> None:
    modality = Modality()
    uid, _ = modality.ask(node.port, [_reference(1)])
    node.receiver.stop(0.1)
    again = listen()  # the same state folder
    HeldStep(again.journal).run_once()
    with modality.listening() as port:
        peer = Pacs("mr", "MR1", "127.0.0.1", port, "NODE", 5.0)
        step = ReportStep(again.journal, {"MR1": peer}, time.time, lambda: 0.0, noop_log)
        _until(lambda: step.run_once() == 1)
    assert [r.transaction_uid for r in modality.reports] == [uid]


def test_peer_without_a_known_address_is_reported_as_such(node: Any) -> None:
    Modality(ae_title="UNKNOWN").ask(node.port, [_reference(1)])
    HeldStep(node.journal).run_once()
    heard: list[Event] = []
    step = ReportStep(node.journal, {}, lambda: time.time() + 60, lambda: 0.0, heard.append)
    step.run_once()
    (event,) = heard
    assert isinstance(event, CommitmentNotAnswered)
    assert "no address of this AE title" in event.reason
    assert len(node.journal.commitments.requests(RequestState.DROPPED)) == 1


def test_requests_of_one_peer_are_bounded_and_those_of_another_are_not_hurt(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "MOST_OPEN", 2)
    statuses = [Modality().ask(node.port, [_reference(1)])[1] for _ in range(3)]
    assert statuses == [0, 0, 0x0213]
    assert Modality(ae_title="MR2").ask(node.port, [_reference(1)])[1] == 0
    node.wait_for("CommitmentRefused")


# ---- hostile ------------------------------------------------------------------------------------


def _action(raw_peer: Any, *, action: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += bytes(len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = element(0x0003, PUSH_MODEL.encode()) + element(0x0100, struct.pack("<H", 0x0130))
    body += element(0x0110, struct.pack("<H", 7)) + element(0x0800, struct.pack("<H", 1))
    body += element(0x1001, instance.encode()) + element(0x1008, struct.pack("<H", action))
    command = element(0x0000, struct.pack("<I", len(body))) + body
    return bytes(raw_peer.fragment(3, command))


def _ask_raw(node: Any, raw_peer: Any, data: bytes, **changes: Any) -> int:
    with raw_peer(node.port) as peer:
        peer.associate((PUSH_MODEL, (ExplicitVRLittleEndian,)))
        peer.send(_action(raw_peer, **changes))
        for at in range(0, len(data) or 1, 100_000):
            last = at + 100_000 >= len(data)
            peer.send(raw_peer.fragment(2 * last, data[at : at + 100_000]))
        return int(peer.status())


def _request(*references: tuple[str, str], uid: str = "") -> bytes:
    ds = request_data_set(Request(uid or new_transaction_uid(), ()))
    from pydicom.dataset import Dataset

    items = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.add_new(0x00081150, "UT", sop_class)
        item.add_new(0x00081155, "UT", sop_instance)
        items.append(item)
    ds.ReferencedSOPSequence = items
    return encoded(ds, ExplicitVRLittleEndian)


def _deep(levels: int) -> bytes:
    """A referenced sequence within a referenced sequence, of undefined lengths."""
    opened = struct.pack("<HH2sHI", 0x0008, 0x1199, b"SQ", 0, 0xFFFFFFFF)
    opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return opened * levels


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (_request(), 0x0115),
        (_request(("1.2", "../../etc/passwd")), 0x0115),
        (_request(("1.2", "1" * 65)), 0x0115),
        (_request(("", "1.2.3")), 0x0115),
        (b"", 0x0115),
        (b"\x00" * 1000, 0x0115),
        (b"GET / HTTP/1.1\r\n\r\n", 0x0115),
        (_deep(5000), 0x0115),
        (_request((MRImageStorage, "1.2.3"))[:-5], 0x0115),
    ],
    ids=["empty", "path", "long", "no-class", "nothing", "zeros", "http", "deep", "cut"],
)
def test_hostile_request_is_refused_and_nothing_is_kept(
    node: Any, raw_peer: Any, data: bytes, status: int
) -> None:
    assert _ask_raw(node, raw_peer, data) == status
    assert all(not node.journal.commitments.requests(s) for s in RequestState)
    assert node.wait_for("CommitmentRefused")[0]["status"] == f"0x{status:04X}"


@pytest.mark.parametrize(
    ("changes", "status"), [({"action": 2}, 0x0123), ({"instance": "1.2.3"}, 0x0112)]
)
def test_request_of_another_kind_is_refused(
    node: Any, raw_peer: Any, changes: dict[str, Any], status: int
) -> None:
    assert _ask_raw(node, raw_peer, _request((MRImageStorage, "1.2.3")), **changes) == status


def test_a_million_references_are_refused_before_they_are_held(node: Any, raw_peer: Any) -> None:
    began = time.thread_time()
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1199, b"SQ", 0, 8 * 1_000_000) + item * 1_000_000
    assert _ask_raw(node, raw_peer, sequence) == -1  # the association is aborted
    assert time.thread_time() - began < 2
    assert all(not node.journal.commitments.requests(s) for s in RequestState)
    (ended,) = [e for e in node.wait_for("AssociationEnded", 2) if e["calling_ae"] == "RAW"]
    assert ended["outcome"] == "aborted"
    assert send_files(node.port) == []


def test_role_selection_is_answered_for_storage_commitment_only(node: Any, raw_peer: Any) -> None:
    def role(uid: str, scu: int, scp: int) -> bytes:
        value = struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp))
        return struct.pack(">BxH", 0x54, len(value)) + value

    roles = role(PUSH_MODEL, 0, 1) + role(MRImageStorage, 1, 1)
    with raw_peer(node.port) as peer:
        contexts = ((PUSH_MODEL, (ExplicitVRLittleEndian,)), (MRImageStorage, (ExplicitVRLittleEndian,)))  # fmt: skip
        kind, body = peer.send(peer.request(*contexts, roles=roles)).read()
    assert kind == 2
    assert role(PUSH_MODEL, 0, 1) in body
    assert role(MRImageStorage, 1, 1)[4:] not in body


# ---- reports that the node did not ask for -------------------------------------------------------


def test_report_on_a_transaction_that_was_never_asked_for_is_refused(
    listen: Any, raw_peer: Any
) -> None:
    from tests.support.commitment import Archive as Reporting

    node = listen(archives=[Archive("pacs", "ARCHIVE", "127.0.0.1")])
    reporting = Reporting(report_to=node.port)
    request = Request(new_transaction_uid(), (_reference(1),))
    assert reporting.report_now(request) == 0x0115
    assert "never asked for" in node.wait_for("CommitmentRefused")[0]["reason"]


def test_destination_may_report_although_it_may_not_send(listen: Any) -> None:
    from tests.support.commitment import Archive as Reporting

    node = listen(archives=[Archive("pacs", "ARCHIVE", "127.0.0.1")], caller=callers("SCANNER"))
    request = Request(new_transaction_uid(), (_reference(1),))
    assert Reporting(report_to=node.port).report_now(request) == 0x0115
    assert Reporting(report_to=node.port, calling="OTHER").report_now(request) == -1
