"""The structure of an encoded data set (PS3.5 section 7) in one bounded walk, without its values.

Elements are stepped over, not read: what is kept are the UIDs of the head. A deflated data set is
inflated piece by piece and thrown away, up to a limit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from node.receive.byte_source import Broken, ByteSource, InflatedBytes, PlainBytes

DEEPEST: Final = 64
"""Nested sequences; real objects stay below ten, and readers recurse."""
MOST_ELEMENTS: Final = 1_000_000
"""Elements of one object. An Enhanced MR image of 1,000 frames has about 100,000."""
LONGEST_UID: Final = 1024
"""Bytes kept of a UID; a longer one is none, and stays visible as such."""

_UNDEFINED: Final = 0xFFFFFFFF
_DELIMITERS: Final = 0xFFFE
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA: Final = 0x7FE00010
_LONG: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
"""VRs with a length of 32 bits (PS3.5 table 7.1-1)."""
_VRS: Final = _LONG | frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip

_UIDS: Final = {
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}


_SHAPE: Final = frozenset(
    (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
)
"""Numbers of two bytes without which no pixel can be read: samples, rows, columns, bits, sign."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk found.

    uids: those that the data set names, "" for each that it lacks. fault: why it is broken, "" when it is
    not. bytes: its length, inflated. pixels_at: offset of its pixel data element, None without one.
    """

    uids: dict[str, str]
    fault: str
    bytes: int
    pixels_at: int | None = None


@dataclass(slots=True)
class _Level:
    """Where the walk is: elements of an item, items of a sequence, or fragments. end: None is a delimiter."""

    kind: str
    end: int | None
    implicit: bool


class _Walk:
    """One walk over a data set. implicit: what the transfer syntax says; the first element decides."""

    def __init__(self, source: ByteSource, *, implicit: bool, order: str) -> None:
        self.source, self.uids = source, dict.fromkeys(_UIDS.values(), "")
        self.pixels_at: int | None = None
        self._tag, self._short = struct.Struct(f"{order}HH"), struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}I")
        self._levels = [_Level("elements", None, implicit)]
        self._steps: dict[str, Callable[[_Level, int, bytes], None]] = {
            "elements": self._element,
            "items": self._in_sequence,
            "fragments": self._in_fragments,
        }

    def run(self) -> None:
        """Walk to the end. Raises `Broken`."""
        # Some writers label Explicit VR as Implicit; readers look at the first element, so does this.
        if self.source.first()[4:6] in _VRS:
            self._levels[0].implicit = False
        for _ in range(MOST_ELEMENTS):
            level = self._levels[-1]
            if level.end is not None and self.source.at() >= level.end:
                self._levels.pop()
                continue
            if len(self._levels) == 1:
                tail = self.source.tail()
                if tail is not None:
                    return self._finish(tail)
            raw = self.source.read(8)
            group, element = self._tag.unpack_from(raw)
            self._steps[level.kind](level, (group << 16) | element, raw)
        raise Broken(f"more than {MOST_ELEMENTS} elements")

    @staticmethod
    def _finish(tail: bytes) -> None:
        if tail.strip(b"\0"):
            raise Broken(f"{len(tail)} bytes behind the last element")

    def _element(self, level: _Level, tag: int, raw: bytes) -> None:
        if tag == _END_OF_ITEM and level.end is None and len(self._levels) > 1:
            self._levels.pop()
            return
        if tag >> 16 == _DELIMITERS:
            raise Broken(f"{_name(tag)} where an element should be")
        if tag == _PIXEL_DATA and len(self._levels) == 1:
            self.pixels_at = self.source.at() - len(raw)
        vr, length = self._head(raw, implicit=level.implicit)
        if length == _UNDEFINED:
            self._open(tag, vr, level)
        elif len(self._levels) == 1 and tag in _UIDS and length <= LONGEST_UID:
            value = self.source.read(length).decode("latin-1")
            self.uids[_UIDS[tag]] = value.strip("\0 ")
        else:
            self._skip(tag, length, level)

    def _head(self, raw: bytes, *, implicit: bool) -> tuple[bytes, int]:
        """VR and length of an element from its first eight bytes."""
        vr = b"" if implicit else raw[4:6]
        if vr in _LONG:
            return vr, int(self._long.unpack(self.source.read(4))[0])
        if vr.isalpha() and vr.isupper():
            return vr, int(self._short.unpack_from(raw, 6)[0])
        # Implicit, or as readers take it where there is no VR: some writers switch inside sequences.
        return b"", int(self._long.unpack_from(raw, 4)[0])

    def _skip(self, tag: int, length: int, level: _Level) -> None:
        if tag in _SHAPE and length % 2:
            raise Broken(f"{_name(tag)}: {length} bytes where numbers of two bytes are")
        if level.end is not None and self.source.at() + length > level.end:
            raise Broken(f"{_name(tag)} is longer than the item that holds it")
        try:
            self.source.skip(length)
        except Broken as error:
            raise Broken(f"{_name(tag)}: {error}") from None

    def _open(self, tag: int, vr: bytes, level: _Level) -> None:
        if len(self._levels) > DEEPEST:
            raise Broken(f"sequences nested more than {DEEPEST} deep")
        if vr in {b"SQ", b"UN"} or (not vr and tag != _PIXEL_DATA):
            # PS3.5 section 6.2.2: what is inside UN of undefined length is Implicit VR.
            self._levels.append(_Level("items", None, level.implicit or vr != b"SQ"))
        else:
            self._levels.append(_Level("fragments", None, level.implicit))

    def _in_sequence(self, level: _Level, tag: int, raw: bytes) -> None:
        length = int(self._long.unpack_from(raw, 4)[0])
        if tag == _END_OF_SEQUENCE:
            self._levels.pop()
        elif tag != _ITEM:
            raise Broken(f"{_name(tag)} where an item should be")
        else:
            end = None if length == _UNDEFINED else self.source.at() + length
            self._levels.append(_Level("elements", end, level.implicit))

    def _in_fragments(self, level: _Level, tag: int, raw: bytes) -> None:
        length = int(self._long.unpack_from(raw, 4)[0])
        if tag == _END_OF_SEQUENCE:
            self._levels.pop()
        elif tag != _ITEM or length == _UNDEFINED:
            raise Broken(f"{_name(tag)} where a fragment should be")
        else:
            self._skip(tag, length, level)


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def survey(file: BinaryIO, size: int, transfer_syntax: str, limit: int) -> Survey:
    """Walk over the data set that begins at the file's position; reads no further than `size` bytes.

    limit: the most bytes that a deflated data set may inflate to.
    """
    deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
    source: ByteSource = InflatedBytes(file, size, limit) if deflated else PlainBytes(file, size)
    walk = _Walk(
        source,
        implicit=transfer_syntax == ImplicitVRLittleEndian,
        order=">" if transfer_syntax == ExplicitVRBigEndian else "<",
    )
    try:
        walk.run()
    except Broken as error:
        fault = f"broken at byte {source.at()}: {error}"
        return Survey(walk.uids, fault, source.at(), walk.pixels_at)
    return Survey(walk.uids, "", source.at(), walk.pixels_at)
