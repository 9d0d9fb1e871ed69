from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from node.receive import dimse, wire
from node.receive.dimse import Command

REPORT = Command(
    dimse.N_EVENT_REPORT_RQ, 7, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", True, 2
)


def _fragments(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Context, control and bytes of every value in these PDUs."""
    found, at = [], 0
    while at < len(raw):
        kind, length = wire.header(raw[at : at + 6])
        assert kind == wire.P_DATA
        body = memoryview(raw)[at + 6 : at + 6 + length]
        found += [(c, control, bytes(f)) for c, control, f in wire.fragments(body)]
        at += 6 + length
    return found


@pytest.mark.parametrize("max_pdu", [4096, 16_384, 1 << 20])
def test_report_is_cut_as_the_peer_announced(max_pdu: int) -> None:
    data = bytes(range(256)) * 200
    raw = dimse.event_report(5, REPORT, data, max_pdu)
    (first, *rest) = _fragments(raw)
    assert dimse.command(first[2]) == replace(REPORT)
    assert (first[0], first[1]) == (5, 3)
    assert b"".join(f for _, _, f in rest) == data
    assert [control for _, control, _ in rest] == [0] * (len(rest) - 1) + [2]
    assert all(len(f) + 6 <= max_pdu for _, _, f in rest)


def test_requested_class_and_action_type_are_read() -> None:
    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    raw = element(0x0003, b"1.2\0") + element(0x0100, b"\x30\x01") + element(0x0110, b"\x09\x00")
    raw += element(0x0800, b"\x01\x00") + element(0x1001, b"1.3\0") + element(0x1008, b"\x01\x00")
    assert dimse.command(raw) == Command(dimse.N_ACTION_RQ, 9, "1.2", "1.3", True, 1)


def test_response_repeats_the_type_id() -> None:
    asked = Command(dimse.N_ACTION_RQ, 9, "1.2", "1.3", True, 1)
    ((_, _, raw),) = _fragments(dimse.response(1, asked, 0x0213, "full"))
    answer = dimse.command(raw)
    assert (answer.field, answer.message_id, answer.type_id) == (0x8130, 9, 1)
    assert (answer.status, answer.has_data) == (0x0213, False)


def test_roles_and_largest_pdu_of_a_request_are_read() -> None:
    from tests.support.raw_peer import RawPeer

    uid = b"1.2.840.10008.1.20.1"
    role = struct.pack(">H", len(uid)) + uid + b"\0\1"
    raw = RawPeer.request(roles=struct.pack(">BxH", 0x54, len(role)) + role)
    request = wire.request(raw[6:])
    assert request.roles == {uid.decode(): (0, 1)}
    assert request.max_pdu == 16_384
