"""Description, date and identity of a series from the header of one of its files.

The journal holds no patient data, so these are read on request. Only the first bytes of a file are
read, and without a DICOM library, which takes longer to import than all headers take to read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 1 << 16
"""Read of a file; what is wanted lies in the groups 0008 and 0010, within the first few kB."""
LONGEST: Final = 64
"""Characters of a value: the most that LO may have (PS3.5 table 6.2-1)."""
UNREADABLE: Final = "\ufffd"
"""In the place of what a character set does not have: values with it that look equal may differ."""
_BIRTH_DATE: Final = re.compile(r"(?!0000)\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_DATES: Final = (0x00080022, 0x00080021, 0x00080020)
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_BIG_ENDIAN: Final = b"1.2.840.10008.1.2.2"
_IMPLICIT: Final = b"1.2.840.10008.1.2"
_LONG: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
"""VRs with a length of 32 bits (PS3.5 table 7.1-1)."""
_UNDEFINED: Final = 0xFFFFFFFF
_DELIMITERS: Final = 0xFFFE
_TRANSFER_SYNTAX: Final = 0x00020010
_CHARACTER_SET: Final = 0x00080005
_PATIENT_ID: Final = 0x00100020
_SEX: Final = 0x00100040
_CODECS: Final = {
    "": "ascii", "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859_2", "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4", "ISO_IR 144": "iso8859_5", "ISO_IR 127": "iso8859_6", "ISO_IR 126": "iso8859_7",
    "ISO_IR 138": "iso8859_8", "ISO_IR 148": "iso8859_9", "ISO_IR 166": "tis_620", "ISO_IR 13": "shift_jis",
    "ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
"""Python's name of a Specific Character Set (PS3.3 section C.12.1.1.2) without code extensions."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the header says; "" for each value that it lacks or that cannot be read.

    date: of the acquisition, else series, else study, as YYYYMMDD. study_date: of the study alone.
    """

    description: str = ""
    date: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Who a study is of: equal for one patient only, and only where ID and birth date are known.

    id: Patient ID. issuer: Issuer of Patient ID. birth_date: YYYYMMDD. sex: as in the header. issuer and sex are ""
    where the header lacks them.
    """

    id: str
    issuer: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Examined:
    """Patient and examination of one header.

    patient: None where the header does not identify one by ID and birth date. patient_id: what it names, also then.
    date, time: of the acquisition, else series, else study, as YYYYMMDD and HHMMSS; "" where unknown. scanner:
    manufacturer, model and station.
    """

    patient: Patient | None
    patient_id: str
    date: str
    time: str
    description: str
    scanner: tuple[str, str, str]


def read_identity(file: Path) -> Identity:
    """Read the identity from a DICOM file; a file that cannot be read has none."""
    text = _texts(file, _PATIENT_ID)
    return Identity(
        description=text(0x0008103E),
        date=text(*_DATES),
        patient_id=text(_PATIENT_ID),
        accession_number=text(0x00080050),
        study_date=text(0x00080020),
    )


def read_examined(file: Path) -> Examined:
    """Read patient and examination from a DICOM file; a file that cannot be read identifies no patient."""
    text = _texts(file, _SEX)
    patient = Patient(text(_PATIENT_ID), text(0x00100021), text(0x00100030), text(_SEX))
    return Examined(
        patient if _identifies(patient) else None,
        patient.id,
        date=text(*_DATES),
        time=text(0x00080032, 0x00080031, 0x00080030)[:6],
        description=text(0x0008103E),
        scanner=(text(0x00080070), text(0x00081090), text(0x00081010)),
    )


def remembering(most: int) -> Callable[[Path], Examined]:
    """Return `read_examined` that remembers the newest answers: a stored object never changes under its name."""
    return lru_cache(maxsize=most)(read_examined)


def _identifies(patient: Patient) -> bool:
    """Whether equal values mean one patient: ID and birth date are there, nothing was cut off or not decoded."""
    every = (patient.id, patient.issuer, patient.birth_date, patient.sex)
    complete = all(len(v) < LONGEST and UNREADABLE not in v for v in every)
    return complete and bool(patient.id) and bool(_BIRTH_DATE.fullmatch(patient.birth_date))


def _texts(file: Path, last: int) -> Callable[..., str]:
    """Read the elements of a header up to `last`; returns the first text that there is of some tags."""
    try:
        with file.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError:
        head = b""
    values: dict[int, bytes] = {}
    with suppress(
        struct.error, zlib.error
    ):  # cut off or damaged: what was read until there is kept
        values.update(_elements(head, last))
    codec = _codec(values.get(_CHARACTER_SET, b""))

    def text(*tags: int) -> str:
        return next((t for t in (_text(values.get(tag, b""), codec) for tag in tags) if t), "")

    return text


def _codec(character_set: bytes) -> str:
    name = character_set.split(b"\\")[0].decode("ascii", "replace").strip(" \0")
    return _CODECS.get(name.replace("ISO 2022 IR", "ISO_IR"), "ascii")


def _text(raw: bytes, codec: str) -> str:
    """Decode a value; control characters, which a terminal would obey, are removed."""
    decoded = raw.decode(codec, "replace")[:LONGEST]
    return "".join(c for c in decoded if c.isprintable()).strip()


def _elements(head: bytes, last: int) -> Iterator[tuple[int, bytes]]:
    """Yield the top-level elements up to the tag `last`: tag and value."""
    if head[128:132] != b"DICM":
        return
    syntax, at = b"", 132
    while head[at : at + 2] == b"\x02\x00":  # always Explicit VR Little Endian (PS3.10 section 7.1)
        tag, start, length = _header(head, at, "<", implicit=False)
        if tag == _TRANSFER_SYNTAX:
            syntax = head[start : start + length].strip(b" \0")
        at = start + length
    data = head[at:]
    if syntax == _DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_BYTES)
    order = ">" if syntax == _BIG_ENDIAN else "<"
    implicit = syntax == _IMPLICIT and not data[4:6].isupper()
    at = 0
    while at < len(data):
        tag, start, length = _header(data, at, order, implicit=implicit)
        if tag > last:
            return
        if length == _UNDEFINED:
            at = _end_of_sequence(data, start, order, implicit=implicit)
        else:
            yield tag, data[start : start + length]
            at = start + length


def _header(data: bytes, at: int, order: str, *, implicit: bool) -> tuple[int, int, int]:
    """Return tag, offset of the value and its length. Raises `struct.error` at the end of the data."""
    group, element = struct.unpack_from(f"{order}HH", data, at)
    vr = data[at + 4 : at + 6]
    if implicit or group == _DELIMITERS:
        (length,) = struct.unpack_from(f"{order}I", data, at + 4)
        return (group << 16) | element, at + 8, length
    if vr in _LONG:
        (length,) = struct.unpack_from(f"{order}I", data, at + 8)
        return (group << 16) | element, at + 12, length
    (length,) = struct.unpack_from(f"{order}H", data, at + 6)
    return (group << 16) | element, at + 8, length


def _end_of_sequence(data: bytes, at: int, order: str, *, implicit: bool) -> int:
    """Return the offset behind a sequence of undefined length; nested ones are counted."""
    depth = 1
    while depth:
        tag, start, length = _header(data, at, order, implicit=implicit)
        if tag == 0xFFFEE0DD:  # end of a sequence
            depth -= 1
        elif length == _UNDEFINED and tag >> 16 != _DELIMITERS:
            depth += 1
        # Of an item the elements follow: it is entered, not skipped.
        at = start if length == _UNDEFINED or tag >> 16 == _DELIMITERS else start + length
    return at
