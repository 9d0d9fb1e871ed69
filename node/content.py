"""What a received data set says of itself, without trusting it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pydicom.valuerep import VR

UID_CHARACTERS: Final = frozenset("0123456789.")
LONGEST_HEAD: Final = 1 << 24
"""Bytes of a deflated data set that are inflated to find its UIDs."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One C-STORE: file meta bytes, the data set's bytes, and what the request said of them.

    stream: the same bytes as `data`, to be read without a copy.
    """

    meta: bytes
    data: memoryview
    stream: BytesIO
    digest: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str


_TOLD: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def identifiers(stream: BytesIO, transfer_syntax: str) -> dict[str, str]:
    """UIDs that the data set itself names; empty when it cannot be read. Reads no further than them."""
    syntax = UID(transfer_syntax)
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            stream = BytesIO(inflate.decompress(stream.getbuffer(), LONGEST_HEAD))
        stream.seek(0)
        ds = read_dataset(
            stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=_behind_the_uids,
            specific_tags=[Tag(name) for name in _TOLD],
        )
        return {name: str(ds.get(name, "") or "").strip("\0 ") for name in _TOLD}
    except Exception:  # noqa: BLE001 - hostile bytes may break a parser in any way
        return dict.fromkeys(_TOLD, "")


def _behind_the_uids(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > Tag("SeriesInstanceUID"))


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    return (
        0 < len(text) <= 64
        and set(text) <= UID_CHARACTERS
        and not text.startswith(".")
        and not text.endswith(".")
    )


def why_unusable(told: dict[str, str], affected: str) -> str:
    """Why an object cannot be tracked, or "" when it can."""
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not is_uid(told[name]):
            return f"the data set has no valid {name}, or cannot be read"
    if told["SOPInstanceUID"] != affected:
        return "the data set's SOP Instance UID is not the one of the C-STORE request"
    return ""


def same_content(path: Path, meta: bytes, data: bytes | memoryview) -> bool:
    """Whether an object equals a stored one but for its transfer syntax: elements and decoded pixels.

    The same data set in other bytes of the same syntax is other content: nobody asked for the rewrite.
    """
    try:
        old, new = dcmread(path), dcmread(BytesIO(meta + bytes(data)))
        if old.file_meta.TransferSyntaxUID == new.file_meta.TransferSyntaxUID:
            return False
        first, second = (
            (ds.pixel_array if "PixelData" in ds else np.zeros(0)) for ds in (old, new)
        )
        return bool(np.array_equal(first, second)) and _same_elements(old, new)
    except Exception:  # noqa: BLE001 - what cannot be compared is not the same
        return False


_OF_THE_SYNTAX: Final = frozenset(
    Tag(name) for name in ("PixelData", "PhotometricInterpretation", "PlanarConfiguration")
) | {Tag(0xFFFC, 0xFFFC)}
"""Elements that a change of transfer syntax may change, and the padding behind a data set."""


def _same_elements(first: Dataset, second: Dataset) -> bool:
    """Compare without what a transfer syntax changes: group lengths, and the VR of private elements."""
    a, b = _comparable(first), _comparable(second)
    return a.keys() == b.keys() and all(_same_element(a[tag], b[tag]) for tag in a)


def _comparable(ds: Dataset) -> dict[BaseTag, DataElement]:
    # PS3.5 section A.1: in Implicit VR some elements are US or SS only by Pixel Representation.
    correct_ambiguous_vr(ds, is_little_endian=True)
    return {e.tag: e for e in ds if e.tag.element != 0 and e.tag not in _OF_THE_SYNTAX}


def _same_element(a: DataElement, b: DataElement) -> bool:
    if VR.UN in {a.VR, b.VR} and a.VR != b.VR:
        return (
            True  # Implicit VR does not tell the VR of a private element, so not its value either
        )
    if isinstance(a.value, Sequence) and isinstance(b.value, Sequence):
        pairs = zip(a.value, b.value, strict=True)
        return len(a.value) == len(b.value) and all(_same_elements(x, y) for x, y in pairs)
    return bool(a == b)
