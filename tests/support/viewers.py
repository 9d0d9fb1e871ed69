"""What viewers do to a SEG when they store it, as changes of one that highdicom wrote.

From the sources of dcmjs (`Segmentation`), OHIF 3 (its export), and dcmqi (`Itk2DicomConverter`).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

Change = Callable[[Dataset], None]


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def _masks(ds: Dataset) -> np.ndarray[Any, Any]:
    """Bits of a binary object as frames."""
    size = int(ds.Rows) * int(ds.Columns)
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    frames: np.ndarray[Any, Any] = bits[: size * int(ds.NumberOfFrames)].reshape(-1, size)
    return frames


def _put(ds: Dataset, groups: list[Dataset], frames: np.ndarray[Any, Any]) -> None:
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = Sequence(groups), len(groups)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)


def _number(group: Dataset) -> int:
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def in_another_order(ds: Dataset, seed: int = 5) -> None:
    """Shuffle the frames."""
    order = np.random.default_rng(seed).permutation(int(ds.NumberOfFrames))
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    _put(ds, [groups[n] for n in order], _masks(ds)[order])


def without_empty_segments(ds: Dataset) -> None:
    """Leave out segments without voxels and number the others from 1, as dcmjs and dcmqi do; each frame names its own."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:  # highdicom, of one segment
        for group in ds.PerFrameFunctionalGroupsSequence:
            group.SegmentIdentificationSequence = deepcopy(shared.SegmentIdentificationSequence)
        del shared.SegmentIdentificationSequence
    drawn = sorted({_number(g) for g in ds.PerFrameFunctionalGroupsSequence})
    number = {old: new for new, old in enumerate(drawn, start=1)}
    ds.SegmentSequence = Sequence([i for i in ds.SegmentSequence if int(i.SegmentNumber) in number])
    for item in ds.SegmentSequence:
        item.SegmentNumber = number[int(item.SegmentNumber)]
    for group in ds.PerFrameFunctionalGroupsSequence:
        identity = group.SegmentIdentificationSequence[0]
        identity.ReferencedSegmentNumber = number[_number(group)]


def ohif(ds: Dataset, *, keeps_codes: bool = False, how: str = "MANUAL") -> None:
    """As OHIF exports: names kept; codes replaced by "tissue", or kept where it holds those that it loaded.

    how: algorithm type of a segment; extensions of OHIF were seen to put a Series Instance UID there.
    """
    without_empty_segments(ds)
    for item in ds.SegmentSequence:
        item.SegmentAlgorithmType, item.SegmentAlgorithmName = how, "OHIF Brush"
        if not keeps_codes:
            item.SegmentedPropertyCategoryCodeSequence = _code("T-D0050", "SRT", "Tissue")
            item.SegmentedPropertyTypeCodeSequence = _code("T-D0050", "SRT", "Tissue")
        item.RecommendedDisplayCIELabValue = [43803, 26565, 37722]
    for group in ds.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    in_another_order(ds)


def ohif_with_a_uid_for_the_algorithm(ds: Dataset) -> None:
    """As extensions of OHIF store."""
    ohif(ds, keeps_codes=True, how=generate_uid())


def _digits(values: Any) -> list[str]:
    """Six significant digits, as a C++ stream prints by default."""
    return [f"{float(v):.6g}" for v in values]


def dcmqi(ds: Dataset) -> None:
    """As 3D Slicer stores by dcmqi: numbers of six digits, spacing in scientific notation, references shared by all frames."""
    without_empty_segments(ds)
    shared = ds.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    measures.PixelSpacing = [f"{float(v):e}" for v in measures.PixelSpacing]
    plane = shared.PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = _digits(plane.ImageOrientationPatient)
    derived = None
    for group in ds.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = _digits(place.ImagePositionPatient)
        derived = deepcopy(group.DerivationImageSequence)
        del group.DerivationImageSequence
    if derived is not None:
        shared.DerivationImageSequence = derived
    with_gaps_filled(ds)


def with_gaps_filled(ds: Dataset) -> None:
    """Give every segment all frames between its first and last one, also empty ones."""
    groups, frames = list(ds.PerFrameFunctionalGroupsSequence), _masks(ds)
    places = {tuple(g.PlanePositionSequence[0].ImagePositionPatient): g for g in groups}
    have = {(_number(g), tuple(g.PlanePositionSequence[0].ImagePositionPatient)) for g in groups}
    for number in sorted({n for n, _ in have}):
        mine = sorted(float(p[0]) for n, p in have if n == number)
        for place, group in places.items():
            if (number, place) not in have and mine[0] < float(place[0]) < mine[-1]:
                groups.append(deepcopy(group))
                groups[-1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
                frames = np.vstack([frames, np.zeros_like(frames[:1])])
    _put(ds, groups, frames)


def another_terminology(ds: Dataset) -> None:
    """Codes of a terminology of the viewer's own; names as typed, in capitals and with blanks."""
    for item in ds.SegmentSequence:
        item.SegmentedPropertyTypeCodeSequence = _code("12345", "99SLICER", "Structure")
        item.SegmentLabel = f" {str(item.SegmentLabel).upper().replace(' ', '  ')} "


FORMS: Final[dict[str, Change]] = {
    "OHIF": ohif,
    "OHIF, own codes": lambda ds: ohif(ds, keeps_codes=True),
    "OHIF, a UID as algorithm": ohif_with_a_uid_for_the_algorithm,
    "dcmqi": dcmqi,
    "another terminology": another_terminology,
    "frames in another order": in_another_order,
}
