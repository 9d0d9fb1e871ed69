"""Whether a SEG is a reader's correction of our segmentation of a series, and the labels that it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.read import attributes
from dicomseg.read.combined import Combined, combine
from dicomseg.read.instance import Instance
from dicomseg.read.seg_errors import SegRefused
from dicomseg.read.seg_labels import SegLabels, read_labels, structure_values
from dicomseg.read.segments import part_of
from dicomseg.read.series import Grid
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES, Side, StructureId
from dicomseg.volume import Array, Volume

MOST_REFERENCES: Final = 20_000
"""References to images that are looked at: one SEG names each slice once or twice."""
_LISTS: Final = ("SourceImageSequence", "ReferencedInstanceSequence")


@dataclass(frozen=True, slots=True)
class References:
    """What a SEG says that it segments: UIDs of series and of images, as written."""

    series: tuple[str, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """Our result, as the correction is compared with it.

    sop_instances: UIDs of all of its objects, in every form in which they were sent. numbers: those of `SEGMENTS` on
    the grid, None where our segmentation cannot be read.
    """

    sop_instances: Set[str]
    numbers: Array | None


@dataclass(frozen=True, slots=True)
class Change:
    """One structure in numbers. dice: of both label sets, None where the structure is in neither."""

    before_ml: float
    after_ml: float
    dice: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Labels that readers drew over ours.

    volume: structure values on the grid of the series, uint8, of all objects over our result. segments: number of each
    segment of this object that is read as the structure. drawn: structures that the objects describe completely: the
    labels of a case. unchanged: other structures, as in our result: measured, and unknown to a training. kept: which
    earlier objects still hold a segment. changes: against our result.
    """

    volume: Volume
    segments: Mapping[StructureId, tuple[int, ...]]
    drawn: tuple[StructureId, ...]
    unchanged: tuple[StructureId, ...]
    kept: tuple[int, ...]
    changes: Mapping[StructureId, Change]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a SEG is no labelled case: a stable code and a sentence. is_correction: it was meant as one."""

    code: str
    text: str
    is_correction: bool = True


def read_references(ds: Dataset) -> References:
    """Return the series and images that a SEG names, at most `MOST_REFERENCES` of each."""
    listed = attributes.items(ds, "ReferencedSeriesSequence")[:MOST_REFERENCES]
    series = [attributes.text(i, "SeriesInstanceUID") for i in listed]
    holders = [ds, *listed]
    for frame in attributes.items(ds, "PerFrameFunctionalGroupsSequence")[:MOST_REFERENCES]:
        holders += attributes.groups(ds, frame, "DerivationImageSequence")
    images: dict[str, None] = {}
    for holder in holders:
        for name in _LISTS:
            if len(images) < MOST_REFERENCES:
                found = attributes.items(holder, name)[:MOST_REFERENCES]
                images |= {attributes.text(i, "ReferencedSOPInstanceUID"): None for i in found}
    images.pop("", None)
    return References(tuple(dict.fromkeys(s for s in series if s)), tuple(images))


def judge(
    ds: Dataset, seg: Instance, grid: Grid, ours: Ours, earlier: Sequence[SegLabels] = ()
) -> Correction | Rejected:
    """Judge one SEG that names the series of `grid`.

    ds: with its pixel data. seg: its header. earlier: objects that correct the same series, oldest first. Raises
    whatever pydicom raises at damaged pixels.
    """
    try:
        if not any(map(part_of, attributes.items(ds, "SegmentSequence"))):
            return Rejected("other-segments", "none of its segments is one of the eight structures", False)  # fmt: skip
        _check_identity(seg, grid)
        drawn = read_labels(ds, grid)
        same = _copy_of(ours, drawn)
        if same == "unchanged-copy" or (same and not earlier):
            return Rejected(same, _UNCHANGED[same], False)
        _check_new(seg, drawn, ours)
        base = np.zeros(grid.shape, np.uint8) if ours.numbers is None else ours.numbers
        both = combine(base, [*earlier, drawn])
        _check_anatomy(both, grid)
    except SegRefused as refusal:
        return Rejected(refusal.code, str(refusal))
    return _correction(drawn, both, base, grid)


_UNCHANGED: Final[Mapping[str, str]] = {
    "unchanged-copy": "its labels are those of the result; nothing was corrected",
    "unchanged-part": "its structures are those of the result; they count once another one of the series is corrected",
}


def _copy_of(ours: Ours, drawn: SegLabels) -> str:
    """Return the code of what changes nothing in our result: all of it, or a part; "" where something is changed."""
    if ours.numbers is None:
        return ""
    described = list(drawn.described)
    if not np.array_equal(drawn.numbers, np.where(np.isin(ours.numbers, described), ours.numbers, 0)):  # fmt: skip
        return ""
    is_whole = np.array_equal(drawn.numbers, ours.numbers)
    return "unchanged-copy" if is_whole else "unchanged-part"


def _correction(drawn: SegLabels, both: Combined, base: Array, grid: Grid) -> Correction:
    volume = Volume(both.labels, grid.affine, grid.frame_of_reference_uid)
    segments: dict[StructureId, tuple[int, ...]] = {}
    for number, part in sorted(drawn.parts.items()):
        segments[part.structure] = (*segments.get(part.structure, ()), number)
    earlier = structure_values(base)
    changes = {s.id: _change(s.value, earlier, volume) for s in STRUCTURES}
    unchanged = tuple(s for s, c in changes.items() if c.after_ml and s not in both.drawn)
    newest = max(both.owners.values())
    kept = tuple(sorted(set(both.owners.values()) - {newest}))
    return Correction(
        volume,
        MappingProxyType(segments),
        both.drawn,
        unchanged,
        kept,
        MappingProxyType(changes),
    )


def _change(value: int, before: Array, volume: Volume) -> Change:
    a, b = before == value, volume.array == value
    first, second, both = (int(np.count_nonzero(m)) for m in (a, b, a & b))
    total = first + second
    dice = 2 * both / total if total else None
    return Change(first * volume.voxel_ml, second * volume.voxel_ml, dice)


# ---- what it has to agree with -------------------------------------------------------------------


def _check_identity(seg: Instance, grid: Grid) -> None:
    """Raise `SegRefused` for another patient, study or frame of reference than that of the series."""
    image = grid.instances[0]
    patient_id, issuer = seg.patient[:2] or ("", "")
    own_id, own_issuer = image.patient[:2] or ("", "")
    # Viewers leave the issuer out: an absent one contradicts none.
    if patient_id != own_id or (issuer and own_issuer and issuer != own_issuer):
        raise SegRefused("other-patient", "its Patient ID is not that of the series; correct it at the source")  # fmt: skip
    if seg.study_uid != image.study_uid:
        raise SegRefused("other-study", "it lies in another study than the series; store it in the same one")  # fmt: skip
    if seg.frame_of_reference_uid != grid.frame_of_reference_uid:
        raise SegRefused("other-frame-of-reference", "its Frame of Reference UID is not that of the series; draw on the images of the result")  # fmt: skip


def _check_new(seg: Instance, drawn: SegLabels, ours: Ours) -> None:
    """Raise `SegRefused` for an object of our name with other labels, and for one without labels."""
    if seg.sop_instance_uid in ours.sop_instances:
        raise SegRefused("own-uid", "it has the SOP Instance UID of our own object but other labels; store it as a new object")  # fmt: skip
    if not drawn.numbers.any():
        raise SegRefused("nothing-drawn", "nothing is drawn in it; to remove a structure, leave its segment empty beside others")  # fmt: skip


def _check_anatomy(both: Combined, grid: Grid) -> None:
    """Raise `SegRefused` where no case can be made of the labels: no disc, sides exchanged, upside down."""
    if not (both.labels == BY_ID["ivd"].value).any():
        raise SegRefused("no-disc", "the L4/5 disc is not in it; a case needs it to place the window")  # fmt: skip
    centres = {
        (s.structure.id, s.side): grid.affine[:3, :3] @ np.argwhere(inside).mean(axis=0)
        for s in SEGMENTS
        if (inside := both.numbers == s.number).any()
    }

    def along(axis: int, structure: StructureId, side: Side | None = None) -> float | None:
        centre = centres.get((structure, side))
        return None if centre is None else float(centre[axis])

    for structure in STRUCTURES:
        left, right = along(0, structure.id, "left"), along(0, structure.id, "right")
        if left is not None and right is not None and left <= right:
            raise SegRefused("sides-exchanged", f"the left {structure.id} lies on the patient's right; exchange the two segments")  # fmt: skip
    upper, lower = along(2, "l4"), along(2, "l5")
    if upper is not None and lower is not None and upper <= lower:
        raise SegRefused("upside-down", "L4 lies below L5; exchange the two segments")
