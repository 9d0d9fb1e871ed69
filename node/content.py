"""What a received data set says of itself, without trusting it, and whether it is a known one again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import VR

from dicomseg import headers
from node import structure
from node.incoming import Incoming
from node.structure import Survey

UID_CHARACTERS: Final = frozenset("0123456789.")
COMPARED_BYTES: Final = 64_000_000
"""Largest header, or deflated data set, that is read to be compared: more would be memory for strangers."""
_HEAD: Final = 1 << 16
_PIECE: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One C-STORE: its file, not yet durable, and what the request said of it."""

    incoming: Incoming
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str


def survey(got: Received, largest: int) -> Survey:
    """Walk over a received data set. largest: the most bytes that a deflated one may inflate to."""
    with got.incoming.data_set() as file:
        return structure.survey(file, got.incoming.size, got.transfer_syntax, largest)


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    return (
        0 < len(text) <= 64
        and set(text) <= UID_CHARACTERS
        and not text.startswith(".")
        and not text.endswith(".")
    )


def why_unusable(told: Survey, affected: str) -> str:
    """Why an object cannot be tracked, or "" when it can."""
    if told.fault:
        return f"the data set cannot be read: {told.fault}"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        uid = told.uids[name]
        if not is_uid(uid):
            what = f"one of {len(uid)} characters" if uid else "none"
            return f"the data set has no valid {name}, but {what}"
    if told.uids["SOPInstanceUID"] != affected:
        return "the data set's SOP Instance UID is not the one of the C-STORE request"
    return ""


# ---- a known SOP Instance UID --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """What another object of a known SOP Instance UID is.

    same: its elements and decoded pixels are equal, whatever the transfer syntax. corrected: the pixels
    and all that describes them are equal, the identity or another description is not. other: neither, or
    it cannot be compared; `reason` names the known series where that is the difference.
    """

    value: Literal["same", "corrected", "other"]
    reason: str = ""


OTHER: Final = Comparison("other")

_PIXELS: Final = frozenset({Tag("PixelData"), Tag(0xFFFC, 0xFFFC)})
"""The pixels, compared apart, and the padding behind a data set."""
_OF_THE_SYNTAX: Final = _PIXELS | {Tag("PhotometricInterpretation"), Tag("PlanarConfiguration")}
"""Elements that a change of transfer syntax may change."""
_WINDOW: Final = frozenset({Tag("WindowCenter"), Tag("WindowWidth"), Tag(0x0028, 0x1055)})
_FIXED: Final = frozenset(
    Tag(name)
    for name in (
        "ImageType", "SOPClassUID", "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient",
    )
)  # fmt: skip
_FIXED_GROUPS: Final = frozenset({0x0018, 0x0028, 0x5200, 0x5400})
"""Acquisition, pixel description, functional groups, waveforms: with other values it is another image."""


def compare(old: Path, new: Path, same_pixels: Callable[[Path, Path], bool]) -> Comparison:
    """Compare two files of one SOP Instance UID. same_pixels: decodes and compares two files' pixels."""
    try:
        return _compare(old, new, same_pixels)
    except Exception:  # noqa: BLE001 - what cannot be compared, for whatever it holds, is not the same
        return OTHER


def _compare(old: Path, new: Path, same_pixels: Callable[[Path, Path], bool]) -> Comparison:
    (first, at_first), (second, at_second) = _header(old), _header(new)
    alike = first.file_meta.TransferSyntaxUID == second.file_meta.TransferSyntaxUID
    changed = _changed(first, second, _PIXELS if alike else _OF_THE_SYNTAX)
    if any(_is_fixed(tag) for tag in changed):
        return OTHER
    if first.StudyInstanceUID != second.StudyInstanceUID or (
        first.SeriesInstanceUID != second.SeriesInstanceUID
    ):
        known = f"series {first.SeriesInstanceUID} of study {first.StudyInstanceUID}"
        return Comparison("other", f"its SOP Instance UID is known from {known}")
    equal = _same_bytes(old, at_first, new, at_second) if alike else same_pixels(old, new)
    if not equal and not (alike and same_pixels(old, new)):
        return OTHER
    return Comparison("corrected" if changed else "same")


def _header(path: Path) -> tuple[FileDataset, int]:
    """Everything but the pixels, and the offset of what is left out. Raises ValueError when it is too much."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = headers.split(file.read(_HEAD))[0]
        file.seek(0)
        syntax = str(
            dcmread(file, specific_tags=[], stop_before_pixels=True).file_meta.TransferSyntaxUID
        )
        file.seek(begin)
        told = structure.survey(file, size - begin, syntax, COMPARED_BYTES)
    header_bytes = told.bytes if told.pixels_at is None else told.pixels_at
    if told.fault or header_bytes > COMPARED_BYTES:
        raise ValueError("broken or too large")
    at = size if told.pixels_at is None else begin + told.pixels_at
    if syntax == DeflatedExplicitVRLittleEndian:
        at = begin
    return dcmread(path, stop_before_pixels=True), at


def _same_bytes(first: Path, at_first: int, second: Path, at_second: int) -> bool:
    """Whether two files are equal from these offsets on."""
    with first.open("rb") as a, second.open("rb") as b:
        a.seek(at_first)
        b.seek(at_second)
        while True:
            piece = a.read(_PIECE)
            if piece != b.read(_PIECE):
                return False
            if not piece:
                return True


def _is_fixed(tag: BaseTag) -> bool:
    if tag.is_private or tag in _WINDOW:
        return False
    return tag in _FIXED or tag.group in _FIXED_GROUPS


def _changed(first: Dataset, second: Dataset, ignored: frozenset[BaseTag]) -> set[BaseTag]:
    """Tags that differ, without what a transfer syntax changes: group lengths, the VR of private elements."""
    a, b = _comparable(first, ignored), _comparable(second, ignored)
    return (a.keys() ^ b.keys()) | {
        tag for tag in a.keys() & b if not _same_element(a[tag], b[tag])
    }


def _comparable(ds: Dataset, ignored: frozenset[BaseTag]) -> dict[BaseTag, DataElement]:
    # PS3.5 section A.1: in Implicit VR some elements are US or SS only by Pixel Representation.
    correct_ambiguous_vr(ds, is_little_endian=True)
    return {e.tag: e for e in ds if e.tag.element != 0 and e.tag not in ignored}


def _same_element(a: DataElement, b: DataElement) -> bool:
    if VR.UN in {a.VR, b.VR} and a.VR != b.VR:
        return (
            True  # Implicit VR does not tell the VR of a private element, so not its value either
        )
    if isinstance(a.value, Sequence) and isinstance(b.value, Sequence):
        return len(a.value) == len(b.value) and not any(
            _changed(x, y, _OF_THE_SYNTAX) for x, y in zip(a.value, b.value, strict=True)
        )
    return bool(a == b)
