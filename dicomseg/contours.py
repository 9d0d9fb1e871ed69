"""Sub-voxel outlines of the structures on a plane, from the class logits.

A structure's outline is the zero line of its margin: its own logit less the largest other one. Where
two structures touch, that line is the same for both, whereas the p = 0.5 lines leave a false gap of
0.4 mm. In-plane coordinates are (a, b) in mm: a along `e_left`, b along `e_back` of the plane.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy import ndimage
from shapely import make_valid
from shapely.geometry import MultiPolygon, Polygon
from skimage.measure import find_contours

from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points

FINE_MM: Final = 0.3
"""Raster of the plane that is measured: no worse than 0.2 mm (largest error 0.019 mm of a distance
and 0.028 mm of a diameter, against 0.018 and 0.025) at less than half the time."""

COARSE_MM: Final = 0.6
"""Raster of the moved and tilted planes that the uncertainty comes from: it changes by 0.01 mm."""

SEARCH_MM: Final = 1.6
REACH_MM: Final = (105.0, 95.0)
"""Raster and half size (left, back) of the search for sections around the disc centre: both psoas
muscles end within 80 mm of it."""

MIN_AREA_MM2: Final = 8.0
"""Smaller sections are listed and ignored: a circle of 3.2 mm diameter is no vessel of this level."""

COARSE_GRID_MM: Final = 1.0
"""Axes of the scores coarser than this get a cubic midpoint between any two voxels before they are
sampled linearly: on smooth phantoms at 1.6 mm the largest error falls from 0.09 to 0.03 mm."""

LABELLED_SHARE: Final = 0.25
"""Smallest share of a section that the label map must agree with: what post-processing removed from
the labels is not shown, so it must not be measured either."""


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """One outline on the plane.

    polygon: (a, b) in mm, holes filled. cut_ab: (n, 2) points of the section within one voxel of the
    end of the image, empty when the section is whole.
    """

    structure: StructureId
    polygon: Polygon
    cut_ab: Points

    @property
    def is_cut(self) -> bool:
        """Whether the section reaches the end of the image."""
        return len(self.cut_ab) > 0

    @property
    def centre_ab(self) -> tuple[float, float]:
        """Centroid in mm."""
        return float(self.polygon.centroid.x), float(self.polygon.centroid.y)


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """All sections on one plane, largest first, and how many were too small to count."""

    plane: Plane
    sections: dict[StructureId, tuple[Section, ...]]
    ignored: dict[StructureId, int]


@dataclass(frozen=True, slots=True)
class Raster:
    """A regular raster on a plane: first point (a, b), step and number of points along both."""

    a_mm: float
    b_mm: float
    step_mm: float
    shape: tuple[int, int]

    @property
    def corners_ab(self) -> Points:
        """The four corners (4, 2) in mm."""
        (na, nb), step = self.shape, self.step_mm
        return np.array(
            [
                [self.a_mm + a, self.b_mm + b]
                for a in (0, (na - 1) * step)
                for b in (0, (nb - 1) * step)
            ]
        )

    def grown(self, by_mm: float, step_mm: float) -> Raster:
        """Return the same area, larger by `by_mm` on every side, with another step."""
        (na, nb), old = self.shape, self.step_mm
        shape = tuple(int(np.ceil(((n - 1) * old + 2 * by_mm) / step_mm)) + 1 for n in (na, nb))
        return Raster(self.a_mm - by_mm, self.b_mm - by_mm, step_mm, (shape[0], shape[1]))


def lps_of(plane: Plane, ab: Array) -> Points:
    """In-plane points (..., 2) in mm to LPS (..., 3)."""
    axes = np.array([plane.e_left, plane.e_back])
    lps: Points = np.asarray(ab, dtype=np.float64) @ axes + np.array(plane.point_lps)
    return lps


def ab_of(plane: Plane, lps: Array) -> Points:
    """LPS points (..., 3) to in-plane coordinates (..., 2): the foot of the perpendicular."""
    axes = np.array([plane.e_left, plane.e_back])
    ab: Points = (np.asarray(lps, dtype=np.float64) - np.array(plane.point_lps)) @ axes.T
    return ab


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The logits around a place, ready to be sampled on planes and along lines.

    logits: (channels, i, j, k); affine: index to LPS mm; voxel_mm: of the scores as they came.
    """

    logits: Array
    affine: Points
    voxel_mm: float
    seg: Segmentation

    @classmethod
    def around(cls, seg: Segmentation, points_lps: Points, margin_mm: float) -> Field:
        """Crop the scores to the box of the points and a margin; refine axes that are coarse."""
        affine = np.array(seg.scores.affine, dtype=np.float64)
        inverse = np.linalg.inv(affine[:3, :3])
        index = (points_lps.reshape(-1, 3) - affine[:3, 3]) @ inverse.T
        rim = margin_mm * np.linalg.norm(inverse, axis=1) + 2
        size = np.array(seg.scores.logits.shape[1:])
        start = np.clip(np.floor(index.min(axis=0) - rim).astype(int), 0, size - 1)
        stop = np.clip(np.ceil(index.max(axis=0) + rim).astype(int) + 1, start + 1, size)
        box = tuple(slice(int(p), int(q)) for p, q in zip(start, stop, strict=True))
        logits = seg.scores.logits[(slice(None), *box)]
        affine[:3, 3] += affine[:3, :3] @ start
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        for axis in map(int, np.flatnonzero(spacing > COARSE_GRID_MM)):
            logits = _with_midpoints(logits, axis + 1)
            affine[:3, axis] /= 2
        return cls(logits, affine, float(spacing.min()), seg)

    def along(self, feet_lps: Points, direction: Points, steps_mm: Array) -> Array:
        """Logits (channels, lines, steps) on parallel lines; continued beyond the end of the grid."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        start = (feet_lps - self.affine[:3, 3]) @ inverse.T
        index = start.T[:, :, None] + (inverse @ direction)[:, None, None] * steps_mm
        lines = [ndimage.map_coordinates(c, index, np.float32, 1, "nearest") for c in self.logits]
        return np.stack(lines)

    def sample(self, plane: Plane, raster: Raster) -> Array:
        """Logits (channels, a, b) on a raster; continued beyond the end of the grid."""
        matrix, offset = _raster_to_index(self.affine, plane, raster)
        shape = (*raster.shape, 1)
        planes = [
            ndimage.affine_transform(c, matrix, offset, shape, np.float32, 1, "nearest")[..., 0]
            for c in self.logits
        ]
        return np.stack(planes)

    def seen(self, plane: Plane, raster: Raster) -> Array:
        """Bool (a, b): inside the scores' grid, inside the image, and looked at."""
        inside = _inside(self.affine, self.logits.shape[1:], plane, raster, 0.0)
        labels = self.seg.labels
        inside &= _inside(labels.volume.affine, labels.volume.shape, plane, raster, 0.5)
        looked: Array = _nearest(labels.looked_at, labels.volume.affine, plane, raster)
        return inside & looked

    def labelled(self, plane: Plane, raster: Raster) -> Array:
        """Label values (a, b) of the nearest source voxel."""
        volume = self.seg.labels.volume
        return _nearest(volume.array, volume.affine, plane, raster)


def _with_midpoints(array: Array, axis: int) -> Array:
    """Put the cubic midpoint (−1, 9, 9, −1)/16 between any two neighbours along one axis."""
    lines = np.moveaxis(array, axis, -1)
    wide = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(1, 1)], mode="edge")
    count = lines.shape[-1]
    out = np.empty((*lines.shape[:-1], 2 * count - 1), dtype=np.float32)
    out[..., 0::2] = lines
    inner = wide[..., 1:count] + wide[..., 2 : count + 1]
    outer = wide[..., 0 : count - 1] + wide[..., 3 : count + 2]
    out[..., 1::2] = (9 * inner - outer) / 16
    return np.moveaxis(out, -1, axis)


def _raster_to_index(affine: Points, plane: Plane, raster: Raster) -> tuple[Points, Points]:
    inverse = np.linalg.inv(affine[:3, :3])
    axes = np.array([plane.e_left, plane.e_back, plane.normal]).T * raster.step_mm
    origin = lps_of(plane, np.array([raster.a_mm, raster.b_mm]))
    return inverse @ axes, inverse @ (origin - affine[:3, 3])


def _index_lines(affine: Points, plane: Plane, raster: Raster) -> list[tuple[Array, Array]]:
    """Per index axis: its value along a (column) and along b (row), to be added by broadcasting."""
    matrix, offset = _raster_to_index(affine, plane, raster)
    a, b = (np.arange(n) for n in raster.shape)
    return [(offset[n] + matrix[n, 0] * a[:, None], matrix[n, 1] * b[None, :]) for n in range(3)]


def _inside(
    affine: Points, shape: Collection[int], plane: Plane, raster: Raster, rim: float
) -> Array:
    inside = np.ones(raster.shape, dtype=bool)
    for (a, b), n in zip(_index_lines(affine, plane, raster), shape, strict=True):
        index = a + b
        inside &= (index >= -rim) & (index <= n - 1 + rim)
    return inside


def _nearest(array: Array, affine: Points, plane: Plane, raster: Raster) -> Array:
    lines = _index_lines(affine, plane, raster)
    index = [
        np.clip(np.rint(a + b).astype(np.intp), 0, n - 1)
        for (a, b), n in zip(lines, array.shape, strict=True)
    ]
    values: Array = array[tuple(index)]
    return values


def margins(logits: Array) -> Array:
    """Own logit less the largest other one, per channel: (channels, ...) of the same shape."""
    two = np.partition(logits, len(logits) - 2, axis=0)[-2:]
    second, top = two[0], two[1]
    margin: Array = np.where(logits == top, logits - second, logits - top)
    return margin


def search(seg: Segmentation, plane: Plane, structures: Collection[StructureId]) -> Raster | None:
    """Return the fine raster that holds every section of the structures, None when there is none."""
    shape = (int(2 * REACH_MM[0] / SEARCH_MM) + 1, int(2 * REACH_MM[1] / SEARCH_MM) + 1)
    raster = Raster(-REACH_MM[0], -REACH_MM[1], SEARCH_MM, shape)
    field = Field(seg.scores.logits, seg.scores.affine, 0.0, seg)
    best = field.sample(plane, raster).argmax(axis=0)
    wanted = np.isin(best, [BY_ID[s].value for s in structures]) & field.seen(plane, raster)
    if not wanted.any():
        return None
    a, b = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    found = Raster(
        raster.a_mm + a[0] * SEARCH_MM,
        raster.b_mm + b[0] * SEARCH_MM,
        SEARCH_MM,
        (int(a[-1] - a[0]) + 1, int(b[-1] - b[0]) + 1),
    )
    return found.grown(2 * SEARCH_MM, FINE_MM)


def outlines(
    field: Field, plane: Plane, raster: Raster, structures: Collection[StructureId]
) -> Outlines:
    """Outline every section of the structures on the plane within the raster."""
    margin = margins(field.sample(plane, raster))
    seen = field.seen(plane, raster)
    labels = field.labelled(plane, raster)
    rim = _rim(seen, field.voxel_mm / raster.step_mm)
    sections: dict[StructureId, tuple[Section, ...]] = {}
    ignored: dict[StructureId, int] = {}
    for structure in structures:
        value = BY_ID[structure].value
        own = np.where(seen, margin[value], -np.abs(margin[value]) - 1e-3)
        found, small = _parts(structure, own, labels == value, rim, raster)
        sections[structure] = tuple(sorted(found, key=lambda s: -s.polygon.area))
        ignored[structure] = small
    return Outlines(plane, sections, ignored)


def _rim(seen: Array, width_px: float) -> Array:
    """Bool: seen, but within `width_px` of what is not."""
    if seen.all():
        return np.zeros_like(seen)
    rim: Array = seen & (ndimage.distance_transform_edt(seen) <= width_px + 1.0)
    return rim


def _parts(
    structure: StructureId, own: Array, labelled: Array, rim: Array, raster: Raster
) -> tuple[list[Section], int]:
    """Return the sections of one margin field, and the number of ignored small ones."""
    parts, count = ndimage.label(own > 0)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    agreed = np.bincount(parts.ravel(), weights=labelled.ravel(), minlength=count + 1)
    found: list[Section] = []
    small = 0
    for n, box in enumerate(ndimage.find_objects(parts), start=1):
        if sizes[n] * raster.step_mm**2 < MIN_AREA_MM2 / 2 or agreed[n] < LABELLED_SHARE * sizes[n]:
            small += 1
            continue
        wide = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
        corner = np.array([s.start for s in wide])
        only = np.where((parts[wide] == n) | (parts[wide] == 0), own[wide], -np.abs(own[wide]))
        polygon = _polygon(only, corner, raster)
        if polygon is None or polygon.area < MIN_AREA_MM2:
            small += 1
            continue
        cut = np.argwhere(rim[wide] & (parts[wide] == n)) + corner
        found.append(Section(structure, polygon, _to_ab(cut, raster)))
    return found, small


def _to_ab(points: Array, raster: Raster) -> Points:
    return np.array([raster.a_mm, raster.b_mm]) + raster.step_mm * np.asarray(points, dtype=float)


def _polygon(own: Array, corner: Array, raster: Raster) -> Polygon | None:
    """Return the largest closed zero line as a polygon, holes filled."""
    padded = np.pad(own, 1, constant_values=-1.0)
    rings = find_contours(padded, 0.0)  # type: ignore[no-untyped-call]
    polygons: list[Any] = [
        Polygon(_to_ab(ring - 1 + corner, raster)) for ring in rings if len(ring) > 3
    ]
    if not polygons:
        return None
    largest = max(polygons, key=lambda p: p.area)
    if not largest.is_valid:
        repaired = make_valid(largest)
        pieces = getattr(repaired, "geoms", [repaired])
        flat = [q for p in pieces for q in (p.geoms if isinstance(p, MultiPolygon) else [p])]
        largest = max((p for p in flat if isinstance(p, Polygon)), key=lambda p: p.area)
    return Polygon(largest.exterior)


def moved(
    plane: Plane, offset_mm: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0
) -> Plane:
    """Shift a plane along its normal and tilt it about its left axis (pitch) or its back axis (roll)."""
    normal, left, back = (np.array(v) for v in (plane.normal, plane.e_left, plane.e_back))
    pitch, roll = np.deg2rad(pitch_deg), np.deg2rad(roll_deg)
    normal, back = (
        normal * np.cos(pitch) + back * np.sin(pitch),
        back * np.cos(pitch) - normal * np.sin(pitch),
    )
    normal, left = (
        normal * np.cos(roll) + left * np.sin(roll),
        left * np.cos(roll) - normal * np.sin(roll),
    )
    point = np.array(plane.point_lps) + offset_mm * np.array(plane.normal)
    return replace(
        plane,
        point_lps=_triple(point),
        normal=_triple(normal),
        e_left=_triple(left),
        e_back=_triple(back),
    )


def _triple(vector: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in vector)
    return x, y, z
