"""The header of one file as a data set, without its pixels: memory stays bounded whatever the file holds."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicomseg.read import attributes

HEADER_LIMIT: Final = 1 << 24
"""Bytes read of one header (16 MiB): 300 frames of an Enhanced MR object take about 1.5 MiB."""

ELEMENT_LIMIT: Final = 1 << 22
"""Longest value that is read (4 MiB); a longer one, e.g. private raw data, is passed over. As a sequence
of empty elements it takes about 200 MB in memory, as much as a header may."""

READ_LIMIT: Final = 500_000
"""Read calls per header, two or three per element: the elements of one header take below 200 MB."""

INFLATED_LIMIT: Final = 1 << 28
"""Largest deflated data set when inflated (256 MiB): 2 MB of zeros can become 4 GB."""

_HEAD: Final = 1 << 16
"""Bytes in which the file meta information ends."""

_CHUNK: Final = 1 << 18
_PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"})


class TooLarge(ValueError):
    """The header or the inflated data set is larger than any MR object's."""


class Cut(ValueError):
    """The bytes end before the data set does."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Length and digest of the pixel element. length: None where it is encapsulated.

    available: bytes from its value to the end of the file. digest: sha256 of the value; "" where it is
    not known without inflating.
    """

    length: int | None
    available: int
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A header with its file meta information, sha256 of the data set's bytes, and its pixel element."""

    header: Dataset
    digest: str
    pixels: Pixels | None


def split_file_meta(raw: bytes) -> tuple[int, bool]:
    """Return (offset of the data set, has a file meta group) of a DICOM file's bytes.

    PS3.10 section 7.1: 128 bytes of preamble, "DICM", group 0002 in Explicit VR Little Endian.
    """
    if raw[128:132] != b"DICM":
        return 0, False
    return min(_meta_end(raw, 132), len(raw)), True


def _meta_end(raw: bytes, at: int) -> int:
    while raw[at : at + 2] == b"\x02\x00":
        vr = raw[at + 4 : at + 6]
        if vr in _LONG_VRS:
            head, size = 12, raw[at + 8 : at + 12]
        elif vr.isalpha():
            head, size = 8, raw[at + 6 : at + 8]
        else:  # Implicit VR, against the standard
            head, size = 8, raw[at + 4 : at + 8]
        at += head + int.from_bytes(size, "little")
    return at


def parse_header(file: io.BufferedReader) -> Parsed:
    """Read the header of an open file. Raises `TooLarge`, `Cut`, and whatever pydicom raises."""
    head = file.read(_HEAD)
    start, _ = split_file_meta(head)
    first = 132 if start else 0
    end = _meta_end(head, first)
    if end >= _HEAD:
        raise TooLarge(f"file meta information of more than {_HEAD >> 10} KiB")
    meta = FileMetaDataset(read_dataset(io.BytesIO(head[first:end]), False, True))
    file.seek(start)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = file.tell()
    syntax = attributes.text(meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        file.seek(end)
        prefix, size = _inflated(file)
        header, pixels = _header(io.BytesIO(prefix), 0, size, syntax)
        if pixels is None and size > len(prefix):
            raise TooLarge(f"a header of more than {HEADER_LIMIT >> 20} MiB")
    else:
        header, pixels = _header(file, end, size, syntax)
    header.file_meta = meta
    return Parsed(header, digest, pixels)


def _inflated(file: io.BufferedReader) -> tuple[bytes, int]:
    """The first bytes of an inflated data set, and its length."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    prefix, size = bytearray(), 0
    pending = file.read(_CHUNK)
    while pending and not inflate.eof:
        part = inflate.decompress(pending, _CHUNK)
        size += len(part)
        prefix += part[: HEADER_LIMIT - len(prefix)]
        if size > INFLATED_LIMIT:
            raise TooLarge(f"a deflated data set of more than {INFLATED_LIMIT >> 20} MiB")
        pending = inflate.unconsumed_tail or file.read(_CHUNK)
    if not inflate.eof:
        raise Cut("the deflated data set is cut off")
    return bytes(prefix), size


class _Metered:
    """A stream that ends a reading that asks for more than any header holds."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.tell, self.seek = stream, stream.tell, stream.seek
        self._bytes, self._reads = HEADER_LIMIT, READ_LIMIT

    def read(self, size: int) -> bytes:
        self._bytes -= size
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0 or size < 0:
            raise TooLarge(f"a header of more than {HEADER_LIMIT >> 20} MiB or too many elements")
        return self._stream.read(size)


def _header(stream: BinaryIO, at: int, size: int, syntax: str) -> tuple[Dataset, Pixels | None]:
    """Parse from `at` to the pixel element; size: where the complete stream would end."""
    stream.seek(at)
    metered = _Metered(stream)
    implicit, little = _encoding(stream.read(6), syntax)
    stream.seek(at)
    pixel_elements: list[tuple[int, int]] = []

    def at_pixels(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            pixel_elements.append((stream.tell(), length))
        return bool(pixel_elements)

    header = read_dataset(
        metered,  # type: ignore[arg-type]  # pydicom reads, seeks and tells, nothing else
        implicit,
        little,
        stop_when=at_pixels,
        defer_size=ELEMENT_LIMIT,
    )
    if not pixel_elements:
        return header, None
    value, length = pixel_elements[-1]
    if length == _UNDEFINED:
        _walk(stream, value)
        return header, Pixels(None, size - value, _digest(stream, value, size - value))
    is_complete = syntax != DeflatedExplicitVRLittleEndian
    return header, Pixels(
        length, size - value, _digest(stream, value, length) if is_complete else ""
    )


def _encoding(first: bytes, syntax: str) -> tuple[bool, bool]:
    """(Implicit VR, little endian) by the transfer syntax, by the first bytes where it is unknown."""
    if syntax.startswith("1.2.840.10008."):
        return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    little = int.from_bytes(first[:2], "little") < 0x400
    return not first[4:6].isalpha(), little


def _digest(stream: BinaryIO, at: int, length: int) -> str:
    stream.seek(at)
    digest = hashlib.sha256()
    while length > 0 and (part := stream.read(min(length, _CHUNK))):
        digest.update(part)
        length -= len(part)
    return digest.hexdigest()


def _walk(stream: BinaryIO, at: int) -> None:
    """Pass over the fragments of encapsulated pixels (PS3.5 A.4). Raises `Cut` when they do not end."""
    for _ in range(READ_LIMIT):
        stream.seek(at)
        item = stream.read(8)
        if len(item) == 8 and item[:4] == b"\xfe\xff\xdd\xe0":
            return
        if len(item) < 8 or item[:4] != b"\xfe\xff\x00\xe0":
            raise Cut("the encapsulated pixel data is cut off")
        at += 8 + int.from_bytes(item[4:], "little")
    raise TooLarge(f"more than {READ_LIMIT} fragments of pixel data")
