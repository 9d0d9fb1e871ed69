"""The plain elements that a data set begins with, in one tight loop: of a classic image all of them.

What is not plain here, broken or not, is left to `structure`, which continues at the first such element.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

UNDEFINED: Final = 0xFFFFFFFF
"""Length of what ends with a delimiter."""
DELIMITERS: Final = 0xFFFE
ITEM, END_OF_ITEM, END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
LONG: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
"""VRs with a length of 32 bits (PS3.5 table 7.1-1)."""
SHORT: Final = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
"""VRs with a length of 16 bits."""
SHAPE: Final = frozenset(
    (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
)
"""Numbers of two bytes without which no pixel can be read: samples, rows, columns, bits, sign."""
UIDS: Final = {
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}
LONGEST_UID: Final = 1024
"""Bytes kept of a UID; a longer one is none, and stays visible as such."""

_DEEPEST: Final = 16
"""Nested sequences; deeper ones are walked with more care."""
_EXPLICIT: Final = struct.Struct("<HH2sH").unpack_from
_IMPLICIT: Final = struct.Struct("<HHI").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class Leading:
    """What was walked over: the offset behind it, its UIDs by keyword, the offset of the pixel data element if it is there."""

    at: int
    uids: Mapping[str, str]
    pixels_at: int | None = None


NOTHING: Final = Leading(0, {})


def lead(head: bytes, size: int, *, implicit: bool) -> Leading:
    """Walk over the little-endian elements that a data set begins with. head: its first bytes. size: its length."""
    at, uids, pixels_at, end = 0, dict[str, str](), None, len(head)
    while at + 12 <= end:
        tag, vr, length, value = _element(head, at, implicit)
        if vr is None or tag >> 16 == DELIMITERS:
            break
        if length == UNDEFINED:
            behind = _sequence(head, value, implicit, 1) if _nests(tag, vr, implicit) else None
            if behind is None:
                break
        else:
            behind = value + length
            if behind > size or (tag in SHAPE and length % 2):
                break
        if tag == PIXEL_DATA:
            pixels_at = at
        elif tag in UIDS and length <= LONGEST_UID:
            if behind > end:
                break
            uids[UIDS[tag]] = uid(head[value:behind])
        at = behind
    return Leading(at, uids, pixels_at)


def uid(raw: bytes) -> str:
    """Return a UID without its padding."""
    return raw.decode("latin-1").strip("\0 ")


def _element(head: bytes, at: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """Tag, VR, length and offset of the value; VR: None where it is unknown. Needs 12 bytes."""
    if implicit:
        group, number, length = _IMPLICIT(head, at)
        return group << 16 | number, b"", length, at + 8
    group, number, vr, length = _EXPLICIT(head, at)
    if vr in SHORT:
        return group << 16 | number, vr, length, at + 8
    if vr in LONG:
        return group << 16 | number, vr, _LENGTH(head, at + 8)[0], at + 12
    return group << 16 | number, None, 0, at + 8


def _nests(tag: int, vr: bytes, implicit: bool) -> bool:
    return tag != PIXEL_DATA if implicit else vr == b"SQ"


def _sequence(head: bytes, at: int, implicit: bool, depth: int) -> int | None:
    """Return the offset behind a sequence of undefined length, None where it is not plain or not in the head."""
    while at + 8 <= len(head) and depth < _DEEPEST:
        group, number, length = _IMPLICIT(head, at)
        tag, at = group << 16 | number, at + 8
        if tag == END_OF_SEQUENCE:
            return at
        limit = None if length == UNDEFINED else at + length
        behind = _item(head, at, limit, implicit, depth) if tag == ITEM else None
        if behind is None:
            return None
        at = behind
    return None


def _item(head: bytes, at: int, limit: int | None, implicit: bool, depth: int) -> int | None:
    """Return the offset behind an item's elements. limit: where they end, None where a delimiter ends them."""
    while at != limit:
        if at + 12 > len(head):
            return None
        tag, vr, length, value = _element(head, at, implicit)
        if tag == END_OF_ITEM and limit is None:
            return at + 8
        if vr is None or tag >> 16 == DELIMITERS:
            return None
        behind: int | None = value + length
        if length == UNDEFINED:
            behind = (
                _sequence(head, value, implicit, depth + 1) if _nests(tag, vr, implicit) else None
            )
        elif tag in SHAPE and length % 2:
            return None
        if behind is None or behind > len(head) or (limit is not None and behind > limit):
            return None
        at = behind
    return at
