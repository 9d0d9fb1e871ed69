"""Left and right, proved with what came back and the labels of the phantom, which no header went through (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.implementation import LABEL_MAP_STORAGE
from dicomseg.structures import SEGMENTS, STRUCTURES
from dicomseg.volume import Array, Points, Volume

STEP: Final = 4
"""Every so many voxels are looked at along each axis."""
MIN_POINTS: Final = 30
"""Points of a structure below which its brightness is not known."""
MIN_LEAD: Final = 0.2
"""By how much the image must fit the phantom better than the mirrored phantom; usual is 0.5."""
CENTRE_MM: Final = 6.0
"""Largest distance of the centre of a segment from that of the true structure: they end at other heights."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Correlation of an image with the phantom's structures, and with their mirror image."""

    as_is: float
    mirrored: float

    @property
    def right(self) -> bool:
        """Whether left is left."""
        return self.as_is - self.mirrored >= MIN_LEAD


def fit_sides(image: Volume, labels: Volume) -> Fit:
    """Correlate an image with the phantom where that differs from its mirror image.

    The mirror is the middle of the phantom's grid, as an archive mirrors that exchanges columns. Points of the phantom
    are looked up in the image by their patient coordinates. Each structure, and the tissue around, is as bright as it
    is on the average where the phantom is symmetric.
    """
    axis = int(np.argmax(np.abs(labels.affine[0, :3])))
    index = np.argwhere(labels.array[::STEP, ::STEP, ::STEP] >= 0) * STEP
    own = labels.array[tuple(index.T)]
    other = np.flip(labels.array, axis)[tuple(index.T)]
    grey = _sample(image, _to_patient(labels.affine, index))
    known = np.isfinite(grey)
    own, other, grey = own[known], other[known], grey[known]
    even = own == other
    seen = {v: grey[even & (own == v)] for v in np.unique(own)}
    brightness = {
        v: float(values.mean()) for v, values in seen.items() if len(values) >= MIN_POINTS
    }
    known_brightness = [*brightness]
    uneven = ~even & np.isin(own, known_brightness) & np.isin(other, known_brightness)
    expected, turned = (np.array([brightness[v] for v in side[uneven]]) for side in (own, other))
    return Fit(_correlation(grey[uneven], expected), _correlation(grey[uneven], turned))


def _correlation(a: Points, b: Points) -> float:
    if len(a) < MIN_POINTS or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _to_patient(affine: Points, index: Array) -> Points:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def _sample(image: Volume, lps: Points) -> Points:
    """Nearest grey value of each point, NaN outside the image."""
    inverse = np.linalg.inv(image.affine)
    index = np.rint(lps @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    inside = np.all((index >= 0) & (index < image.shape), axis=1)
    out = np.full(len(lps), np.nan)
    out[inside] = image.array[tuple(index[inside].T)]
    return out


# ---- segments ------------------------------------------------------------------------------------


def true_centres(labels: Volume, heights_mm: tuple[float, float]) -> Mapping[str, Points]:
    """Return the centre in LPS mm of each structure of the phantom between two heights (z)."""
    found = {}
    for structure in STRUCTURES:
        lps = _to_patient(labels.affine, np.argwhere(labels.array == structure.value))
        lps = lps[(lps[:, 2] >= heights_mm[0]) & (lps[:, 2] <= heights_mm[1])]
        if len(lps):
            found[str(structure.id)] = lps.mean(axis=0)
    return found


def segment_points(seg: Dataset) -> Mapping[int, Points]:
    """Return the voxels of each segment of a segmentation as LPS points (n, 3), by segment number.

    Positions are those of its own frames (PS3.3 C.7.6.16.2.3); binary, fractional and label map.
    """
    labels = str(seg.SOPClassUID) == LABEL_MAP_STORAGE
    half = float(seg.get("MaximumFractionalValue", 1)) / 2
    pixels = seg.pixel_array if seg.pixel_array.ndim == 3 else seg.pixel_array[None]
    found: dict[int, list[Points]] = {}
    for frame, item in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        step = _axes(item, seg.SharedFunctionalGroupsSequence[0])
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for number in [int(n) for n in np.unique(frame) if n] if labels else [_number(item)]:
            cells = np.argwhere(frame == number if labels else frame > half)
            found.setdefault(number, []).append(position + cells @ step)
    return {n: np.concatenate(parts) for n, parts in found.items() if sum(map(len, parts))}


def _number(item: Dataset) -> int:
    return int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _axes(item: Dataset, shared: Dataset) -> Points:
    """Steps (2, 3) of one row down and one column on, in LPS mm (PS3.3 C.7.6.2.1.1)."""
    where = {k: _macro(k, item, shared) for k in ("PlaneOrientationSequence", "PixelMeasuresSequence")}  # fmt: skip
    directions = np.array(where["PlaneOrientationSequence"].ImageOrientationPatient, dtype=float)
    down_mm, right_mm = (float(v) for v in where["PixelMeasuresSequence"].PixelSpacing)
    return np.array([directions[3:] * down_mm, directions[:3] * right_mm])


def _macro(keyword: str, item: Dataset, shared: Dataset) -> Any:
    return (item if keyword in item else shared)[keyword].value[0]


def structure_centres(points: Mapping[int, Points]) -> Mapping[str, Points]:
    """Return the centre of each structure from the points of its segments, both sides together."""
    parts: dict[str, list[Points]] = {}
    for segment in SEGMENTS:
        if segment.number in points:
            parts.setdefault(str(segment.structure.id), []).append(points[segment.number])
    return {name: np.concatenate(p).mean(axis=0) for name, p in parts.items()}


def sides_swapped(points: Mapping[int, Points]) -> tuple[str, ...]:
    """Return the paired structures whose left segment is not to the left (+x) of its right one."""
    centre = {
        (s.structure.id, s.side): points[s.number].mean(axis=0)
        for s in SEGMENTS
        if s.number in points
    }
    pairs = [
        (s.structure, centre[s.structure.id, "left"], centre[s.structure.id, "right"])
        for s in SEGMENTS
        if s.side == "left" and {(s.structure.id, "left"), (s.structure.id, "right")} <= set(centre)
    ]
    return tuple(structure.label for structure, left, right in pairs if left[0] <= right[0])
