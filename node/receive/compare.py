"""Whether another object of a known SOP Instance UID is the same image, a correction of it, or another.

Run as `python -m node.receive.compare` it answers over its standard input and output, in a process with limited
memory: `comparer` starts it, for what is compared may be hostile. Decoders and element parsers are what
such bytes reach first.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import VR

from dicomseg.read import parsing
from node.receive import structure
from node.receive.comparison import OTHER, Comparison
from node.sandbox.answers import answer_questions

MOST_BYTES: Final = 2_000_000_000
"""Address space of the process that compares; a real pair of Enhanced MR objects takes a tenth."""
LARGEST_HEADER: Final = 64_000_000
"""Bytes of a header, or of an inflated data set, that are read to be compared."""
_HEAD: Final = 1 << 16
_PIECE: Final = 1 << 18


_PIXELS: Final = frozenset({Tag("PixelData"), Tag(0xFFFC, 0xFFFC)})
"""The pixels, compared apart, and the padding behind a data set."""
_OF_THE_SYNTAX: Final = _PIXELS | {Tag("PhotometricInterpretation"), Tag("PlanarConfiguration")}
"""Elements that a change of transfer syntax may change."""
_DESCRIBED: Final = frozenset(
    Tag(name)
    for name in (
        "WindowCenter", "WindowWidth", "BodyPartExamined", "ProtocolName",
        "DeviceSerialNumber", "SoftwareVersions", "WindowCenterWidthExplanation",
    )
)  # fmt: skip
"""What archives correct and add in the groups below, without another image."""
_FIXED: Final = frozenset(
    Tag(name)
    for name in (
        "ImageType", "SOPClassUID", "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient",
    )
)  # fmt: skip
_FIXED_GROUPS: Final = frozenset({0x0018, 0x0028, 0x5200, 0x5400})
"""Acquisition, pixel description, functional groups, waveforms: with other values it is another image."""


def compare(old: Path, new: Path) -> Comparison:
    """Compare two files of one SOP Instance UID."""
    try:
        return _compare(old, new)
    except Exception:  # noqa: BLE001 - what cannot be compared, for whatever it holds, is not the same
        return OTHER


def _compare(old: Path, new: Path) -> Comparison:
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
    equal = _same_bytes(old, at_first, new, at_second) if alike else _same_pixels(old, new)
    if not equal and not (alike and _same_pixels(old, new)):
        return OTHER
    return Comparison("corrected" if changed else "same")


def _header(path: Path) -> tuple[FileDataset, int]:
    """Everything but the pixels, and the offset of what is left out. Raises ValueError when it is too much."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = parsing.split_file_meta(file.read(_HEAD))[0]
        file.seek(0)
        syntax = str(
            dcmread(file, specific_tags=[], stop_before_pixels=True).file_meta.TransferSyntaxUID
        )
        file.seek(begin)
        walk = structure.survey(file, size - begin, syntax, LARGEST_HEADER)
    header_bytes = walk.bytes if walk.pixels_at is None else walk.pixels_at
    if walk.fault or header_bytes > LARGEST_HEADER:
        raise ValueError("broken or too large")
    at = size if walk.pixels_at is None else begin + walk.pixels_at
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


def _same_pixels(first: Path, second: Path) -> bool:
    """Whether two files decode to the same pixels. Raises whatever a decoder raises."""
    old, new = (dcmread(path) for path in (first, second))
    if "PixelData" not in old and "PixelData" not in new:
        return True
    return bool(np.array_equal(old.pixel_array, new.pixel_array))


def _is_fixed(tag: BaseTag) -> bool:
    if tag.is_private or tag in _DESCRIBED:
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


def main() -> None:
    """Answer until the other end is gone: a question is a list of two paths, the answer a `Comparison`."""
    answer_questions(lambda paths: asdict(compare(*map(Path, paths))), MOST_BYTES)


if __name__ == "__main__":
    main()
