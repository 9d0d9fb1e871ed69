"""What peers do wrong: each has its one line in the log, and no other peer waits for it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from dicomseg.read import parsing
from node.receive.admission import VERIFICATION
from node.receive.association import Connection
from node.receive.limits import LINES_PER_PEER
from tests.support.listening import callers

MR = (MRImageStorage, (ExplicitVRLittleEndian,))
ECHO = (VERIFICATION, (ImplicitVRLittleEndian,))


def _echo(peer: Any) -> int:
    command = peer.command(0x30, sop_class=VERIFICATION, data=False)
    status: int = peer.send(peer.fragment(3, command)).status()
    return status


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread, until it fails or the block ends."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            try:
                act()
            except OSError:
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


# ---- slots ---------------------------------------------------------------------------------------


def test_probes_of_the_port_take_no_slot_and_one_line(listen: Any, raw_peer: Any) -> None:
    node = listen(max_associations=2, reserved_associations=0)

    def probe() -> None:
        socket.create_connection(("127.0.0.1", node.port), 8).close()

    with _every(0.001, probe):
        for _ in range(20):
            with raw_peer(node.port).associate(ECHO) as peer:
                assert _echo(peer) == 0
    (line,) = node.wait_for("AssociationRefused")
    assert line["peer"] == "127.0.0.1"
    assert "closed without a byte" in line["reason"]


def test_connections_that_say_nothing_leave_room_for_those_that_do(
    listen: Any, raw_peer: Any
) -> None:
    node = listen(max_associations=2, reserved_associations=0)
    with ExitStack() as silent:
        for _ in range(200):
            silent.enter_context(raw_peer(node.port))
        with raw_peer(node.port).associate(ECHO) as peer:
            assert _echo(peer) == 0
        assert threading.active_count() < 100
    assert "too many connections" in node.wait_for("AssociationRefused")[0]["reason"]


def test_request_has_one_deadline_however_it_trickles(listen: Any, raw_peer: Any) -> None:
    node = listen(idle_seconds=0.6)
    with raw_peer(node.port) as slow:
        said = iter(slow.request())
        began = time.monotonic()
        with _every(0.05, lambda: slow.link.sendall(bytes([next(said)]))):
            assert slow.read()[0] == 7
        assert time.monotonic() - began < 2
    (line,) = node.wait_for("AssociationRefused")
    assert (line["peer"], line["reason"]) == (
        "127.0.0.1",
        "no complete association request within 0.6 s",
    )


@pytest.mark.parametrize("whole_pdus", [False, True], ids=["inside a PDU", "in tiny PDUs"])
def test_sender_that_trickles_within_an_object_is_ended(
    listen: Any, raw_peer: Any, whole_pdus: bool
) -> None:
    node = listen(idle_seconds=0.5)
    with raw_peer(node.port).associate() as slow:
        slow.send(slow.fragment(3, slow.command(1, sop_class=MRImageStorage, sop_instance="1.2")))
        if not whole_pdus:
            slow.send(slow.fragment(0, bytes(100))[:20])
        piece = slow.fragment(0, b"x") if whole_pdus else b"x"
        began = time.monotonic()
        with _every(0.05, lambda: slow.link.sendall(piece)):
            assert slow.read()[0] == 7
        assert time.monotonic() - began < 3
    (line,) = node.wait_for("AssociationEnded")
    assert (line["peer"], line["outcome"]) == ("127.0.0.1", "aborted")
    assert "least_kb_per_second" in line["reason"]
    assert node.files() == []


def test_sender_faster_than_the_slowest_rate_may_take_its_time(
    listen: Any, raw_peer: Any, write_series: Any, tmp_path: Any
) -> None:
    node = listen(idle_seconds=0.5, least_kb_per_second=0.5)
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    data = raw[parsing.split_file_meta(raw)[0] :]
    with raw_peer(node.port).associate() as peer:
        command = peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.1")
        peer.send(peer.fragment(3, command))
        for at in range(0, len(data), 50):
            time.sleep(0.05)
            peer.send(peer.fragment(2 * (at + 50 >= len(data)), data[at : at + 50]))
        assert peer.status() == 0


def test_time_that_the_node_takes_is_not_the_senders(
    listen: Any, raw_peer: Any, monkeypatch: Any, write_series: Any, tmp_path: Any
) -> None:
    node = listen(idle_seconds=0.5)
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    write = os.write

    def slow(handle: int, data: Any) -> int:
        time.sleep(0.4)
        return write(handle, data)

    with raw_peer(node.port).associate() as peer:
        command = peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.1")
        data = raw[parsing.split_file_meta(raw)[0] :]
        pieces = [peer.fragment(2 * (at >= 600), data[at : at + 100]) for at in range(0, 700, 100)]
        monkeypatch.setattr(os, "write", slow)
        peer.send(peer.fragment(3, command) + b"".join(pieces))
        assert peer.status() == 0


def test_pause_between_objects_is_no_slowness_until_it_is_silence(
    listen: Any, raw_peer: Any
) -> None:
    node = listen(idle_seconds=0.6)
    with raw_peer(node.port).associate(ECHO) as peer:
        for _ in range(3):
            time.sleep(0.4)
            assert _echo(peer) == 0
        assert peer.read()[0] == 7
    assert "silent" in node.wait_for("AssociationEnded")[0]["reason"]


def test_slot_is_free_the_moment_its_association_ends(listen: Any, raw_peer: Any) -> None:
    node = listen(max_associations=1, reserved_associations=0)
    for ending in (b"\x05\0\0\0\0\4\0\0\0\0", b"\x07\0\0\0\0\4\0\0\0\0", b"junk", None):
        with raw_peer(node.port).associate(ECHO) as peer:
            if ending is not None:
                peer.send(ending)
                peer.link.shutdown(socket.SHUT_WR)
                while peer.read()[0]:
                    pass
        node.wait_for("AssociationEnded", 1)
        node.log.truncate(0)
        node.log.seek(0)


def test_closed_connection_holds_no_slot_even_before_its_thread_sees_it(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    node = listen(max_associations=1, reserved_associations=0)
    monkeypatch.setattr(
        "node.receive.step.ReceiveStep.ended", lambda *_: time.sleep(1)
    )  # a busy machine
    for _ in range(5):
        with raw_peer(node.port).associate(ECHO) as peer:
            assert _echo(peer) == 0


def test_one_address_does_not_get_every_slot(listen: Any, raw_peer: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("node.receive.step.SLOT_S", 0.0)
    node = listen(max_associations=6, max_associations_per_peer=3, reserved_associations=0)
    with ExitStack() as open_ones:
        for _ in range(3):
            open_ones.enter_context(raw_peer(node.port)).associate(ECHO)
        with raw_peer(node.port) as one_more:
            kind, body = one_more.send(one_more.request(ECHO)).read()
            assert (kind, body[1:]) == (3, b"\2\3\2")  # transient, local limit exceeded
        with raw_peer(node.port, source="127.0.0.2").associate(ECHO) as other:
            assert _echo(other) == 0
    assert "max_associations_per_peer" in node.wait_for("AssociationRefused")[0]["reason"]


def test_known_peers_keep_slots(
    listen: Any, raw_peer: Any, write_series: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("node.receive.step.SLOT_S", 0.0)
    node = listen(max_associations=4, reserved_associations=2)
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    with raw_peer(node.port, source="127.0.0.9").associate() as scanner:
        assert scanner.store(raw[parsing.split_file_meta(raw)[0] :], "1.2.3.1") == 0
    node.wait_for("AssociationEnded")
    with ExitStack() as strangers:
        for last in (2, 3):
            strangers.enter_context(raw_peer(node.port, source=f"127.0.0.{last}")).associate(ECHO)
        with raw_peer(node.port, source="127.0.0.4") as third:
            assert third.send(third.request(ECHO)).read()[0] == 3
        with raw_peer(node.port, source="127.0.0.9").associate(ECHO) as scanner:
            assert _echo(scanner) == 0
    assert "known peers" in node.wait_for("AssociationRefused")[0]["reason"]


def test_full_house_loses_who_hangs_not_who_comes(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("node.receive.limits.PATIENCE_S", 0.2)
    monkeypatch.setattr("node.receive.limits.PATIENCE_AT_FIRST_S", 0.2)
    node = listen(max_associations=2, reserved_associations=0)
    with raw_peer(node.port).associate(ECHO) as hangs, raw_peer(node.port).associate(ECHO) as works:
        time.sleep(0.3)
        assert _echo(works) == 0
        with raw_peer(node.port).associate(ECHO) as comes:
            assert _echo(comes) == 0
            assert hangs.read()[0] == 7
            assert _echo(works) == 0
    assert "waited for a slot" in node.wait_for("AssociationEnded")[0]["reason"]


def test_tricklers_from_its_own_address_do_not_keep_a_sender_out(
    listen: Any, raw_peer: Any, write_series: Any, tmp_path: Any
) -> None:
    node = listen()  # as shipped
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    with ExitStack() as tricklers:
        for _ in range(10):
            slow = tricklers.enter_context(raw_peer(node.port)).associate()
            command = slow.command(1, sop_class=MRImageStorage, sop_instance="1.2")
            slow.send(slow.fragment(3, command) + slow.fragment(0, bytes(100))[:20])
        with raw_peer(node.port).associate() as peer:
            assert peer.store(raw[parsing.split_file_meta(raw)[0] :], "1.2.3.1") == 0
    assert node.wait_for("AssociationEnded", 11)


def test_request_that_waits_for_a_slot_gets_the_next_one(listen: Any, raw_peer: Any) -> None:
    node = listen(max_associations=1, reserved_associations=0)
    with raw_peer(node.port).associate(ECHO) as first, raw_peer(node.port) as second:
        assert _echo(first) == 0
        second.send(second.request(ECHO))
        time.sleep(0.3)
        first.send(b"\x05\0\0\0\0\4\0\0\0\0")
        assert second.read()[0] == 2
        assert _echo(second) == 0


# ---- one line for every end ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no PDU begins with 0x47"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "no PDU begins with 0x16"),
        (b"\x04\0\0\0\0\4\0\0\0\0", "a PDU of type 4"),
        (b"\x01\0\xff\xff\xff\xff", "a PDU of 4294967295 bytes"),
        (b"\x01\0\0\0\0\4\0\0\0\0", "less than 68 bytes"),
        (b"\x07\0\0\0\0\4\0\0\0\0", "aborted by the peer"),
        (b"\x01\0", "inside its association request"),
    ],
)
def test_what_is_no_request_has_one_line_with_peer_and_reason(
    listen: Any, raw_peer: Any, said: bytes, reason: str
) -> None:
    node = listen()
    with raw_peer(node.port) as peer:
        peer.send(said)
        peer.link.shutdown(socket.SHUT_WR)
        while peer.read()[0]:
            pass
    (line,) = node.wait_for("AssociationRefused")
    assert line["peer"] == "127.0.0.1"
    assert reason in line["reason"]


def test_flood_of_garbage_is_counted_and_the_count_is_written(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("node.receive.limits.LOG_WINDOW_S", 1.5)
    monkeypatch.setattr("node.receive.limits.LINES_PER_PEER", 3)
    node = listen()

    def garbage() -> None:
        with raw_peer(node.port) as peer:
            peer.send(b"GET /").read()

    for _ in range(5):
        garbage()
    with raw_peer(node.port, source="127.0.0.2") as other:
        other.send(b"GET /").read()
    lines = node.wait_for("AssociationRefused", 4)
    assert [e["peer"] for e in lines] == ["127.0.0.1"] * 3 + ["127.0.0.2"]
    time.sleep(1.6)
    garbage()
    assert node.wait_for("AssociationRefused", 5)[4]["reason"].endswith(
        "(2 more of this address before)"
    )


def test_address_of_no_caller_does_not_fill_the_log(listen: Any, raw_peer: Any) -> None:
    node = listen(caller=callers("", address="127.0.0.9"))
    for _ in range(LINES_PER_PEER + 20):
        with raw_peer(node.port) as peer:
            assert peer.read()[0] == 0
    assert len(node.events("AssociationRefused")) == LINES_PER_PEER


def test_node_stops_in_order_while_a_connection_is_not_served_yet(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    node = listen()
    came, may_start = threading.Event(), threading.Event()
    start = Connection.start

    def later(connection: Connection) -> None:
        came.set()
        may_start.wait(10)
        start(connection)

    monkeypatch.setattr("node.receive.association.Connection.start", later)
    with raw_peer(node.port):
        assert came.wait(10)
        assert node.receiver.stop(0.1) == 0
        may_start.set()


def test_listener_goes_on_whatever_one_connection_raises(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    node = listen()

    def no_memory(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("node.receive.step.Connection", no_memory)
        with raw_peer(node.port) as peer:
            assert peer.read()[0] == 0
    with raw_peer(node.port).associate(ECHO) as peer:
        assert _echo(peer) == 0
    assert node.wait_for("StepFailed")[0]["error"].startswith("MemoryError")


def test_listener_goes_on_when_there_is_no_thread_left(
    listen: Any, raw_peer: Any, monkeypatch: Any
) -> None:
    node = listen()

    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("node.receive.association.Connection.start", none_left)
        with raw_peer(node.port) as peer:
            assert peer.read()[0] == 0
    with raw_peer(node.port).associate(ECHO) as peer:
        assert _echo(peer) == 0
    assert node.wait_for("AssociationRefused")[0]["reason"] == "no thread left for it"


def _command(raw_peer: Any, **changes: Any) -> bytes:
    fields = {"field": 1, "sop_class": MRImageStorage, "sop_instance": "1.2.3.1", **changes}
    command: bytes = raw_peer.command(fields.pop("field"), **fields)
    return command


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda p: p.fragment(3, _command(p), context=9), "context 9 was not accepted"),
        (lambda p: p.fragment(2, b"data before a command"), "mixed"),
        (lambda p: p.fragment(3, _command(p)) + p.fragment(3, _command(p)), "mixed"),
        (lambda p: p.fragment(3, b"\0\0\0\0\xff\xff\xff\xff"), "longer than its command set"),
        (lambda p: p.fragment(3, b"\0\0"), "cut off"),
        (lambda p: p.fragment(3, b""), "command field"),
        (lambda p: p.fragment(1, bytes(9000)) + p.fragment(1, bytes(9000)), "command set of more"),
        (lambda p: p.fragment(3, _command(p, field=0x8001)), "a response"),
        (lambda _: b"\x04\0\0\0\0\0", "without a presentation data value"),
        (lambda _: b"\x04\0\0\0\0\3\0\0\0", "cut off"),
        (lambda _: b"\x04\0\0\0\0\6\0\0\0\xff\1\2", "does not fit"),
        (lambda p: p.request(), "a PDU of type 1 in an association"),
        (lambda _: b"\x99\0\0\0\0\0", "no PDU begins with 0x99"),
    ],
)  # fmt: skip
def test_what_is_no_message_aborts_with_one_line(
    listen: Any, raw_peer: Any, said: Any, reason: str
) -> None:
    node = listen()
    with raw_peer(node.port).associate() as peer:
        peer.send(said(peer))
        assert peer.read()[0] == 7
    (line,) = node.wait_for("AssociationEnded")
    assert (line["peer"], line["calling_ae"], line["outcome"]) == ("127.0.0.1", "RAW", "aborted")
    assert reason in line["reason"]
    assert node.files() == []


@pytest.mark.parametrize("padding", [b"\0", b" ", b" \0", b"\0 ", b"\0rubbish"])
def test_titles_are_read_without_their_padding(listen: Any, raw_peer: Any, padding: bytes) -> None:
    node = listen(caller=callers("EFILM"))

    def padded(name: bytes) -> bytes:
        return (name + padding * 16)[:16]

    with raw_peer(node.port) as peer:
        asked = peer.request(ECHO, calling=padded(b"EFILM"), called=padded(b"NODE"))
        assert peer.send(asked).read()[0] == 2
        assert _echo(peer) == 0
    assert node.wait_for("AssociationEnded")[0]["calling_ae"] == "EFILM"


@pytest.mark.parametrize("blank", [b" " * 16, b"\0" * 16])
def test_blank_calling_title_is_let_in_a_blank_called_one_is_not(
    listen: Any, raw_peer: Any, blank: bytes
) -> None:
    node = listen()
    with raw_peer(node.port) as peer:
        assert peer.send(peer.request(ECHO, calling=blank)).read()[0] == 2
    with raw_peer(node.port) as peer:
        kind, body = peer.send(peer.request(ECHO, called=blank)).read()
        assert (kind, body[1:]) == (3, b"\1\1\7")
    assert node.wait_for("AssociationRefused")[0]["reason"] == "called AE title '' is not ours"


def test_echo_is_answered_while_the_disk_is_low(listen: Any, raw_peer: Any) -> None:
    node = listen(disk_low_mb=100, disk_high_mb=200, free=lambda: 50_000_000)
    with raw_peer(node.port).associate(ECHO) as peer:
        assert _echo(peer) == 0
    with raw_peer(node.port) as peer:
        assert peer.send(peer.request(ECHO, MR)).read()[0] == 3
    assert "100 MB free" in node.wait_for("AssociationRefused")[0]["reason"]


def test_other_operations_get_an_answer_and_the_association_goes_on(
    listen: Any, raw_peer: Any
) -> None:
    node = listen()
    with raw_peer(node.port).associate() as peer:
        find = peer.command(0x20, sop_class=MRImageStorage)
        peer.send(peer.fragment(3, find) + peer.fragment(2, bytes(64)))
        assert peer.status() == 0x0211
        peer.send(peer.fragment(3, peer.command(0x0FFF, sop_class="", data=False)))
        nothing = peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.1", data=False)
        assert peer.send(peer.fragment(3, nothing)).status() == 0xA700
        peer.send(b"\x05\0\0\0\0\4\0\0\0\0")
        assert peer.read()[0] == 6
    assert node.wait_for("AssociationEnded")[0]["outcome"] == "released"


# ---- what is kept of all classes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sop_class", "taken"),
    [
        ("1.3.12.2.1107.5.9.1", True),  # Siemens CSA Non-Image
        ("1.2.840.10008.5.1.4.1.1.9999", True),  # a storage class of a later standard
        ("1.2.840.10008.5.1.4.1.1.66.7", True),  # Label Map Segmentation
        ("1.2.840.10008.1.20.2", False),  # Storage Commitment Pull Model, retired
        ("1.2.840.10008.5.1.4.1.2.2.1", False),  # Study Root FIND
        ("1.2.840.10008.5.1.4.31", False),  # Modality Worklist
        ("", False),
    ],
)
def test_every_storage_class_is_accepted_and_no_other_service(
    listen: Any, raw_peer: Any, sop_class: str, taken: bool
) -> None:
    node = listen()
    with raw_peer(node.port) as peer:
        syntaxes = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        _, body = peer.send(peer.request((sop_class, syntaxes), ECHO)).read()
        at = body.index(b"\x21\0")
        assert (body[at + 6] == 0) is taken
        if taken:
            assert ExplicitVRLittleEndian.encode() in body[at : at + 60]


def test_private_objects_among_images_are_stored_with_them(
    listen: Any, raw_peer: Any, write_series: Any, tmp_path: Any
) -> None:
    node = listen()
    private = "1.3.12.2.1107.5.9.1"
    first, second = write_series(tmp_path / "in", slices=2)
    ds = dcmread(first)
    ds.SOPClassUID = private
    ds.save_as(first)
    raws = [p.read_bytes() for p in (first, second)]
    data = [raw[parsing.split_file_meta(raw)[0] :] for raw in raws]
    with raw_peer(node.port).associate((private, (ExplicitVRLittleEndian,)), MR) as peer:
        assert peer.store(data[0], "1.2.3.1", private) == 0
        assert peer.store(data[1], "1.2.3.2", context=3) == 0
    (series,) = node.journal.series.in_states()
    assert {r.sop_class_uid for r in node.journal.instances.of_series(series.key)} == {
        private,
        MRImageStorage,
    }


def test_syntax_that_is_not_known_is_kept_as_it_is(
    listen: Any, raw_peer: Any, write_series: Any, tmp_path: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    with raw_peer(node.port).associate((MRImageStorage, ("1.2.840.113619.5.999",))) as peer:
        assert peer.store(raw[parsing.split_file_meta(raw)[0] :], "1.2.3.1") == 0
    (series,) = node.journal.series.in_states()
    (row,) = node.journal.instances.of_series(series.key)
    assert row.transfer_syntax_uid == "1.2.840.113619.5.999"
