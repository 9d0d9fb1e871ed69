"""DIMSE messages as bytes (PS3.7 sections 9.3 and 10.3): pure, without sockets.

Only what an acceptor of C-STORE, C-ECHO and storage commitment reads and writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from node.receive import wire
from node.receive.wire import Malformed

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ, RESPONSE = 0x0001, 0x0030, 0x0FFF, 0x8000
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
_NO_DATA_SET, _WITH_DATA_SET = 0x0101, 0x0001
_TYPE_IDS: Final = MappingProxyType({N_EVENT_REPORT_RQ: 0x1002, N_ACTION_RQ: 0x1008})
"""Element of the Event Type ID, and of the Action Type ID."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command set of one DIMSE message. type_id: Event or Action Type ID, 0 where there is none."""

    field: int
    message_id: int
    sop_class: str
    sop_instance: str
    has_data: bool
    type_id: int = 0
    status: int = 0


def command(raw: bytes) -> Command:
    """Read a command set, always in Implicit VR Little Endian. Raises `Malformed`."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(raw):
        if at + 8 > len(raw):
            raise Malformed("a command set is cut off")
        group, element, length = struct.unpack_from("<HHI", raw, at)
        if at + 8 + length > len(raw):
            raise Malformed("an element is longer than its command set")
        if group == 0:
            elements[element] = raw[at + 8 : at + 8 + length]
        at += 8 + length
    return Command(
        _number(elements, 0x0100, "command field"),
        next((_number(elements, n, "message id") for n in (0x0110, 0x0120) if n in elements), 0),
        # Affected SOP Class and Instance, in an N-ACTION the requested ones (PS3.7 table 10.3-7).
        wire.uid_text(elements.get(0x0002, elements.get(0x0003, b""))),
        wire.uid_text(elements.get(0x1000, elements.get(0x1001, b""))),
        _number(elements, 0x0800, "command data set type") != _NO_DATA_SET,
        next((_number(elements, n, "type id") for n in (0x1002, 0x1008) if n in elements), 0),
        _number(elements, 0x0900, "status") if 0x0900 in elements else 0,
    )


def _number(elements: dict[int, bytes], element: int, name: str) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise Malformed(f"a command set without a valid {name}")
    return int.from_bytes(value, "little")


def response(context: int, asked: Command, status: int, comment: str = "") -> bytes:
    """Return the response to a request as one P-DATA-TF. comment: Error Comment, at most 64 characters."""
    elements = b"".join(
        (
            _element(0x0002, _even(asked.sop_class, b"\0")) if asked.sop_class else b"",
            _element(0x0100, struct.pack("<H", (asked.field | RESPONSE) & 0xFFFF)),
            _element(0x0120, struct.pack("<H", asked.message_id)),
            _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
            _element(0x0900, struct.pack("<H", status)),
            _element(0x0902, _even(comment[:64], b" ")) if comment else b"",
            _element(0x1000, _even(asked.sop_instance, b"\0")) if asked.sop_instance else b"",
            _element(_TYPE_IDS[asked.field], struct.pack("<H", asked.type_id))
            if asked.field in _TYPE_IDS
            else b"",
        )
    )
    return wire.value(context, 3, _command_set(elements))


def _command_set(elements: bytes) -> bytes:
    return _element(0x0000, struct.pack("<I", len(elements))) + elements


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _even(text: str, padding: bytes) -> bytes:
    raw = text.encode("latin-1", "replace")
    return raw + padding if len(raw) % 2 else raw


def event_report(context: int, report: Command, data: bytes, max_pdu: int) -> bytes:
    """Return an N-EVENT-REPORT request with its data set, in P-DATA-TFs of at most `max_pdu` bytes."""
    elements = (
        _element(0x0002, _even(report.sop_class, b"\0"))
        + _element(0x0100, struct.pack("<H", N_EVENT_REPORT_RQ))
        + _element(0x0110, struct.pack("<H", report.message_id))
        + _element(0x0800, struct.pack("<H", _WITH_DATA_SET))
        + _element(0x1000, _even(report.sop_instance, b"\0"))
        + _element(0x1002, struct.pack("<H", report.type_id))
    )
    step = max(1024, min(max_pdu, wire.MAX_PDU) - 6)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    last = len(pieces) - 1
    return wire.value(context, 3, _command_set(elements)) + b"".join(
        wire.value(context, 2 * (number == last), piece) for number, piece in enumerate(pieces)
    )
