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
from node.receive.leading_elements import (
    DELIMITERS,
    END_OF_ITEM,
    END_OF_SEQUENCE,
    ITEM,
    LONG,
    LONGEST_UID,
    NOTHING,
    PIXEL_DATA,
    SHAPE,
    SHORT,
    UIDS,
    UNDEFINED,
    Leading,
    lead,
    uid,
)

DEEPEST: Final = 64
"""Nested sequences; real objects stay below ten, and readers recurse."""
MOST_ELEMENTS: Final = 1_000_000
"""Elements of one object. An Enhanced MR image of 1,000 frames has about 100,000."""


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
    """One walk over a data set. leading: what has been walked over already."""

    def __init__(self, source: ByteSource, order: str, leading: Leading) -> None:
        self.source, self.uids = source, dict.fromkeys(UIDS.values(), "") | dict(leading.uids)
        self.pixels_at = leading.pixels_at
        self._tag, self._short = struct.Struct(f"{order}HH"), struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}I")
        self._levels: list[_Level] = []
        self._steps: dict[str, Callable[[_Level, int, bytes], None]] = {
            "elements": self._element,
            "items": self._in_sequence,
            "fragments": self._in_fragments,
        }

    def run(self, *, implicit: bool) -> None:
        """Walk to the end. Raises `Broken`."""
        self._levels = [_Level("elements", None, implicit)]
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
        if tag == END_OF_ITEM and level.end is None and len(self._levels) > 1:
            self._levels.pop()
            return
        if tag >> 16 == DELIMITERS:
            raise Broken(f"{_name(tag)} where an element should be")
        if tag == PIXEL_DATA and len(self._levels) == 1:
            self.pixels_at = self.source.at() - len(raw)
        vr, length = self._head(raw, implicit=level.implicit)
        if length == UNDEFINED:
            self._open(tag, vr, level)
        elif len(self._levels) == 1 and tag in UIDS and length <= LONGEST_UID:
            self.uids[UIDS[tag]] = uid(self.source.read(length))
        else:
            self._skip(tag, length, level)

    def _head(self, raw: bytes, *, implicit: bool) -> tuple[bytes, int]:
        """VR and length of an element from its first eight bytes."""
        vr = b"" if implicit else raw[4:6]
        if vr in LONG:
            return vr, int(self._long.unpack(self.source.read(4))[0])
        if vr.isalpha() and vr.isupper():
            return vr, int(self._short.unpack_from(raw, 6)[0])
        # Implicit, or as readers take it where there is no VR: some writers switch inside sequences.
        return b"", int(self._long.unpack_from(raw, 4)[0])

    def _skip(self, tag: int, length: int, level: _Level) -> None:
        if tag in SHAPE and length % 2:
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
        if vr in {b"SQ", b"UN"} or (not vr and tag != PIXEL_DATA):
            # PS3.5 section 6.2.2: what is inside UN of undefined length is Implicit VR.
            self._levels.append(_Level("items", None, level.implicit or vr != b"SQ"))
        else:
            self._levels.append(_Level("fragments", None, level.implicit))

    def _in_sequence(self, level: _Level, tag: int, raw: bytes) -> None:
        length = int(self._long.unpack_from(raw, 4)[0])
        if tag == END_OF_SEQUENCE:
            self._levels.pop()
        elif tag != ITEM:
            raise Broken(f"{_name(tag)} where an item should be")
        else:
            end = None if length == UNDEFINED else self.source.at() + length
            self._levels.append(_Level("elements", end, level.implicit))

    def _in_fragments(self, level: _Level, tag: int, raw: bytes) -> None:
        length = int(self._long.unpack_from(raw, 4)[0])
        if tag == END_OF_SEQUENCE:
            self._levels.pop()
        elif tag != ITEM or length == UNDEFINED:
            raise Broken(f"{_name(tag)} where a fragment should be")
        else:
            self._skip(tag, length, level)


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def survey_head(head: bytes, size: int, transfer_syntax: str) -> Leading:
    """Walk over the plain elements that a data set begins with. head: its first bytes. size: its length."""
    if transfer_syntax in {DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian}:
        return NOTHING
    return lead(head, size, implicit=_is_implicit(transfer_syntax, head))


def _is_implicit(transfer_syntax: str, head: bytes) -> bool:
    # Some writers label Explicit VR as Implicit; readers look at the first element, so does this.
    vr = head[4:6]
    return transfer_syntax == ImplicitVRLittleEndian and vr not in SHORT and vr not in LONG


def survey(
    file: BinaryIO, size: int, transfer_syntax: str, limit: int, leading: Leading = NOTHING
) -> Survey:
    """Walk over the data set that begins at the file's position; reads no further than `size` bytes.

    limit: the most bytes that a deflated data set may inflate to. leading: what `survey_head` has walked over.
    """
    deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
    source: ByteSource = InflatedBytes(file, size, limit) if deflated else PlainBytes(file, size)
    walk = _Walk(source, ">" if transfer_syntax == ExplicitVRBigEndian else "<", leading)
    try:
        implicit = _is_implicit(transfer_syntax, source.first())
        source.skip(leading.at)
        walk.run(implicit=implicit)
    except Broken as error:
        fault = f"broken at byte {source.at()}: {error}"
        return Survey(walk.uids, fault, source.at(), walk.pixels_at)
    return Survey(walk.uids, "", source.at(), walk.pixels_at)
