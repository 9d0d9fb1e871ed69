"""Polygons of the sections on a plane: the zero lines of the structures' margins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from scipy import ndimage
from shapely import make_valid
from shapely.geometry import MultiPolygon, Polygon
from skimage.measure import find_contours
from skimage.segmentation import watershed

from dicomseg.measure.lengths import Span, max_feret
from dicomseg.measure.plane import Raster
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points

MIN_AREA_MM2: Final = 8.0
"""Smaller sections are listed and ignored: a circle of 3.2 mm diameter is no vessel of this level."""


MIN_BRANCH_SHARE: Final = 0.2
"""A section of a vessel that is not truncated and smaller than this share of its largest one is not a branch of it:
common iliac arteries of a person are much alike (10.9 ± 1.7 mm). A false piece of that size beside an aorta made an OC 16 mm too short."""


SPLIT_MARGIN: Final = 1.5
"""Two branches of the arteries that join where the margin is lower are two: at L4/5 two iliac arteries are the rule
(93 % of 210, AJR 2004;182), and scores at half resolution blur what lies between them. In 100 phantoms near their
bifurcation, branches that are apart joined at margins of 0.7, 0.7, 1.0, 2.1 and 2.8, arteries that are one at 1.6 and
more. Veins, which are one as a rule, are left as they are."""


MIN_LABELLED_SHARE: Final = 0.25
"""Smallest share of a section that the label map must agree with: what post-processing removed from
the labels is not shown, so it must not be measured either."""


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """One outline on the plane.

    polygon: (a, b) in mm, holes filled. truncation_ab: (n, 2) points of the section within one voxel of the
    image border, empty when the section is complete.
    """

    structure: StructureId
    polygon: Polygon
    truncation_ab: Points
    _widest: list[Span] = field(default_factory=list, init=False, repr=False)
    """The largest diameter once it was asked for: several values are made from it."""

    @property
    def is_truncated(self) -> bool:
        """Whether the section reaches the image border."""
        return len(self.truncation_ab) > 0

    @property
    def widest(self) -> Span:
        """The largest diameter."""
        if not self._widest:
            self._widest.append(max_feret(self.polygon))
        return self._widest[0]

    @property
    def centre_ab(self) -> tuple[float, float]:
        """Centroid in mm."""
        return float(self.polygon.centroid.x), float(self.polygon.centroid.y)


def margins(logits: Array) -> Array:
    """Subtract the largest other logit from every channel's own: (channels, ...) of the same shape."""
    two = np.partition(logits, len(logits) - 2, axis=0)[-2:]
    second, top = two[0], two[1]
    margin: Array = np.where(logits == top, logits - second, logits - top)
    return margin


@dataclass(frozen=True, slots=True, eq=False)
class PlaneView:
    """What does not depend on the logits of a plane; arrays (a, b) on the raster."""

    raster: Raster
    in_view: Array
    labels: Array
    rim: Array
    gain: np.float32


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSections:
    """Sections of every structure, as in `Outlines`."""

    sections: dict[StructureId, tuple[Section, ...]]
    ignored: dict[StructureId, int]


def find_sections(
    logits: Array, view: PlaneView, structures: Collection[StructureId]
) -> PlaneSections:
    """Outline every section of the structures. logits: (channels, a, b) on the raster of `view`."""
    margin = margins(logits) + view.gain
    out = PlaneSections({}, {})
    for structure in structures:
        value = BY_ID[structure].value
        own = np.where(view.in_view, margin[value], -np.abs(margin[value]) - 1e-3)
        sections, small = _parts(structure, own, view.labels == value, view.rim, view.raster)
        out.sections[structure] = tuple(sorted(sections, key=lambda s: -s.polygon.area))
        out.ignored[structure] = small
    return out


def view_rim(in_view: Array, width_px: float) -> Array:
    """Return a mask of what is in view, but within `width_px` of what is not."""
    if in_view.all():
        return np.zeros_like(in_view)
    rim: Array = in_view & (ndimage.distance_transform_edt(in_view) <= width_px + 1.0)
    return rim


def find_regions(
    structure: StructureId, own: Array, labelled: Array, raster: Raster
) -> tuple[Array, list[int], int]:
    """Number the regions of one margin field (a, b), and find those that may be sections.

    labelled: where the label map shows the structure. Returns the numbers on the raster, those that are large enough
    and agree with the label map, and how many do not.
    """
    parts, count = ndimage.label(own > 0)
    if structure == "aa":
        parts, count = _split_branches(own, parts, count, raster)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    agreed = np.bincount(parts.ravel(), weights=labelled.ravel(), minlength=count + 1)
    enough = sizes * raster.step_mm**2 >= MIN_AREA_MM2 / 2
    kept = [
        n for n in range(1, count + 1) if enough[n] and agreed[n] >= MIN_LABELLED_SHARE * sizes[n]
    ]
    return parts, kept, count - len(kept)


def _parts(
    structure: StructureId, own: Array, labelled: Array, rim: Array, raster: Raster
) -> tuple[list[Section], int]:
    """Return the sections of one margin field, and the number of ignored small ones."""
    parts, kept, small = find_regions(structure, own, labelled, raster)
    boxes = ndimage.find_objects(parts) if kept else []
    sections: list[Section] = []
    for n in kept:
        wide = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in boxes[n - 1])
        corner = np.array([s.start for s in wide])
        only = np.where((parts[wide] == n) | (parts[wide] == 0), own[wide], -np.abs(own[wide]))
        polygon = _polygon(only, corner, raster)
        if polygon is None or polygon.area < MIN_AREA_MM2:
            small += 1
            continue
        cut = np.argwhere(rim[wide] & (parts[wide] == n)) + corner
        sections.append(Section(structure, polygon, to_ab(cut, raster)))
    return sections, small


def _split_branches(own: Array, parts: Array, count: int, raster: Raster) -> tuple[Array, int]:
    """Renumber the parts of a margin field, with those separated that join where the margin is below `SPLIT_MARGIN`."""
    cores, cores_count = ndimage.label(own > SPLIT_MARGIN)
    area = np.bincount(cores.ravel(), minlength=cores_count + 1) * raster.step_mm**2
    numbers = np.arange(1, cores_count + 1)
    home = np.asarray(ndimage.maximum(parts, cores, numbers), dtype=int)
    markers, number, parted = np.zeros(parts.shape, int), 0, False
    for part in range(1, count + 1):
        inside = numbers[home == part]
        min_area = max(MIN_AREA_MM2, MIN_BRANCH_SHARE * max(area[inside], default=0.0))
        branches = [cores == core for core in inside if area[core] >= min_area]
        parted |= len(branches) > 1
        for where in branches if len(branches) > 1 else [parts == part]:
            number += 1
            markers[where] = number
    if not parted:
        return parts, count
    joined: Array = watershed(-own, markers, mask=own > 0)  # type: ignore[no-untyped-call]
    return joined, number


def to_ab(points: Array, raster: Raster) -> Points:
    """Convert raster indices (..., 2) to (a, b) in mm."""
    return np.array([raster.a_mm, raster.b_mm]) + raster.step_mm * np.asarray(points, dtype=float)


def _polygon(own: Array, corner: Array, raster: Raster) -> Polygon | None:
    """Return the largest closed zero line as a polygon, holes filled."""
    padded = np.pad(own, 1, constant_values=-1.0)
    rings = find_contours(padded, 0.0)  # type: ignore[no-untyped-call]
    polygons: list[Any] = [
        Polygon(to_ab(ring - 1 + corner, raster)) for ring in rings if len(ring) > 3
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
