"""The file meta information of one received DICOM file (PS3.10 section 7.1), read without trusting it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dicomseg.read.parsing import split_file_meta

HEAD_BYTES: Final = 1 << 16
"""Bytes within which the file meta information must end."""
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"UN", b"UT"})
_CLASS, _INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the file meta information declares, and where the data set begins. Texts are not checked."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    start: int


def read_head(raw: bytes) -> FileHead | None:
    """Return what the beginning of a file declares; None where it is no DICOM file or the group does not end in it."""
    start, has_group = split_file_meta(raw)
    if not has_group or start >= min(len(raw), HEAD_BYTES):
        return None
    found = dict(_elements(raw[132:start]))
    if not (found.get(_INSTANCE) and found.get(_SYNTAX)):
        return None
    return FileHead(found.get(_CLASS, ""), found[_INSTANCE], found[_SYNTAX], start)


def _elements(group: bytes) -> Iterator[tuple[int, str]]:
    """Number and text of every element of group 0002 in Explicit VR Little Endian."""
    at = 0
    while at + 8 <= len(group):
        number = int.from_bytes(group[at + 2 : at + 4], "little")
        is_long = group[at + 4 : at + 6] in _LONG_VRS
        head = 12 if is_long else 8
        size = int.from_bytes(group[at + head - (4 if is_long else 2) : at + head], "little")
        value = group[at + head : at + head + size]
        yield number, value.decode("ascii", "replace").rstrip("\0 ")
        at += head + size
