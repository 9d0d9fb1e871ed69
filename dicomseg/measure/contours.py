"""Sub-voxel outlines of the structures on a plane, from the class logits.

A structure's outline is the zero line of its margin: its own logit less the largest other one. Where
two structures touch, that line is the same for both, whereas the p = 0.5 lines leave a false gap of
0.4 mm. In-plane coordinates are (a, b) in mm: a along `e_left`, b along `e_back` of the plane.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import ndimage
from shapely import contains_xy, make_valid
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union
from skimage.measure import find_contours
from skimage.segmentation import watershed

from dicomseg.measure import branches as limbs
from dicomseg.measure.plane import Raster
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, BY_VALUE, StructureId
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

MIN_BRANCH_SHARE: Final = 0.2
"""A whole section of a vessel smaller than this share of its largest one is no limb of it: common iliac arteries of a
person are much alike (10.9 ± 1.7 mm). A false piece of that size beside an aorta made an OC 16 mm too short."""
_VESSELS: Final[tuple[StructureId, ...]] = ("aa", "ivc")
SUPPRESSED_BY: Final = 1.0
"""How far, in logits, a silenced channel stays behind the best other one."""
REMNANT_MM: Final = 1.0
"""What lies this near to a piece goes with it: parts too small to count, and its rim on the raster."""
_PASSES: Final = 4
"""A piece that one vessel gives away may be a third section of the other."""

SPLIT_MARGIN: Final = 1.5
"""Two limbs of the arteries that join where the margin is lower are two: at L4/5 two iliac arteries are the rule
(93 % of 210, AJR 2004;182), and scores at half resolution blur what lies between them. In 100 phantoms near their
bifurcation, limbs that are apart joined at margins of 0.7, 0.7, 1.0, 2.1 and 2.8, arteries that are one at 1.6 and
more. Veins, which are one as a rule, are left as they are."""

MIN_LABELLED_SHARE: Final = 0.25
"""Smallest share of a section that the label map must agree with: what post-processing removed from
the labels is not shown, so it must not be measured either."""


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """One outline on the plane.

    polygon: (a, b) in mm, holes filled. truncation_ab: (n, 2) points of the section within one voxel of the
    end of the image, empty when the section is whole.
    """

    structure: StructureId
    polygon: Polygon
    truncation_ab: Points

    @property
    def is_truncated(self) -> bool:
        """Whether the section reaches the end of the image."""
        return len(self.truncation_ab) > 0

    @property
    def centre_ab(self) -> tuple[float, float]:
        """Centroid in mm."""
        return float(self.polygon.centroid.x), float(self.polygon.centroid.y)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A section of a vessel that is no limb of it, why, and what is taken to lie there instead; None for no structure."""

    section: Section
    why: str
    instead: StructureId | None


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """All sections on one plane, largest first, and how many were too small to count.

    pieces: sections of vessels that are large enough to count and no limbs; in no other list. What the network holds for
    second best has taken their place.
    """

    plane: Plane
    sections: dict[StructureId, tuple[Section, ...]]
    ignored: dict[StructureId, int]
    pieces: tuple[Piece, ...] = ()


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
    field = ScoreField(seg.scores.logits, seg.scores.affine, 0.0, seg)
    best = field.sample(plane, raster).argmax(axis=0)
    wanted = np.isin(best, [BY_ID[s].value for s in structures]) & field.in_field_of_view(
        plane, raster
    )
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
    field: ScoreField,
    plane: Plane,
    raster: Raster,
    structures: Collection[StructureId],
    gain: float = 0.0,
) -> Outlines:
    """Outline every section of the structures on the plane within the raster.

    gain: added to each structure's own margin: what its outline holds if the network is biased by that much.
    """
    in_view = field.in_field_of_view(plane, raster)
    view = _PlaneView(
        raster,
        in_view,
        field.labels_at(plane, raster),
        _rim(in_view, field.voxel_mm / raster.step_mm),
        np.float32(gain),
    )
    logits = field.sample(plane, raster)
    found = _find_sections(logits, view, structures)
    pieces: list[Piece] = []
    for _ in range(_PASSES):
        there = [
            p for name in structures if name in _VESSELS for p in _pieces(found.sections[name])
        ]
        if not there:
            break
        logits = logits.copy()
        for piece, why in there:
            beside = [s for s in found.sections[piece.structure] if s is not piece]
            pieces.append(Piece(piece, why, _reassign(logits, piece, beside, view)))
        found = _find_sections(logits, view, structures)
    return Outlines(plane, found.sections, found.ignored, tuple(pieces))


@dataclass(frozen=True, slots=True, eq=False)
class _PlaneView:
    """What stays the same on one plane whatever the logits are; arrays (a, b) on the raster."""

    raster: Raster
    in_view: Array
    labels: Array
    rim: Array
    gain: np.float32


@dataclass(frozen=True, slots=True, eq=False)
class _Sections:
    """Sections of every structure, as in `Outlines`."""

    sections: dict[StructureId, tuple[Section, ...]]
    ignored: dict[StructureId, int]


def _find_sections(
    logits: Array, view: _PlaneView, structures: Collection[StructureId]
) -> _Sections:
    margin = margins(logits) + view.gain
    out = _Sections({}, {})
    for structure in structures:
        value = BY_ID[structure].value
        own = np.where(view.in_view, margin[value], -np.abs(margin[value]) - 1e-3)
        there, small = _parts(structure, own, view.labels == value, view.rim, view.raster)
        out.sections[structure] = tuple(sorted(there, key=lambda s: -s.polygon.area))
        out.ignored[structure] = small
    return out


def _pieces(sections: tuple[Section, ...]) -> list[tuple[Section, str]]:
    """Sections of a vessel that are no limbs of it, and why."""
    small = [s for s in sections[1:] if _is_too_small(s, sections[0])]
    rest = [s for s in sections if s not in small]
    thin = [rest[n] for n in limbs.surplus_branches([s.polygon for s in rest])]
    return [(s, "too small to be an iliac vessel") for s in small] + [
        (s, "thinner than two other cross-sections") for s in thin
    ]


def _reassign(
    logits: Array, piece: Section, beside: Sequence[Section], view: _PlaneView
) -> StructureId | None:
    """Silence a piece's own channel on it and its crumbs, in place; returns what has the best logit there then.

    beside: sections of the same vessel, which keep theirs.
    """
    value = BY_ID[piece.structure].value
    grown = piece.polygon.buffer(REMNANT_MM).difference(unary_union([s.polygon for s in beside]))
    box, points = _box_about(grown, view.raster)
    here = logits[(slice(None), *box)]
    others = np.delete(here, value, axis=0).max(axis=0)
    behind = np.minimum(here[value], others - SUPPRESSED_BY - max(view.gain, 0))
    here[value] = np.where(contains_xy(grown, *points), behind, here[value])
    best = here.argmax(axis=0)[contains_xy(piece.polygon, *points)]
    instead = int(np.bincount(best).argmax()) if best.size else 0
    return BY_VALUE[instead].id if instead else None


def _box_about(shape: BaseGeometry, raster: Raster) -> tuple[tuple[slice, slice], Points]:
    """Index box of the raster about a shape with two points to spare, and a and b in mm of its points, (2, i, j)."""
    starts = np.array([raster.a_mm, raster.b_mm])
    low = (np.array(shape.bounds[:2]) - starts) / raster.step_mm
    high = (np.array(shape.bounds[2:]) - starts) / raster.step_mm
    first = np.clip(np.floor(low).astype(int) - 2, 0, raster.shape)
    last = np.clip(np.ceil(high).astype(int) + 3, first, raster.shape)
    index = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1)
    points = np.moveaxis(_to_ab(index, raster), -1, 0)
    return (slice(first[0], last[0]), slice(first[1], last[1])), points


def _is_too_small(section: Section, largest: Section) -> bool:
    """Whether a section is too small to be a limb; what the end of the image cuts may be larger."""
    return (
        not section.is_truncated and section.polygon.area < MIN_BRANCH_SHARE * largest.polygon.area
    )


def _rim(in_view: Array, width_px: float) -> Array:
    """Bool: in_view, but within `width_px` of what is not."""
    if in_view.all():
        return np.zeros_like(in_view)
    rim: Array = in_view & (ndimage.distance_transform_edt(in_view) <= width_px + 1.0)
    return rim


def _parts(
    structure: StructureId, own: Array, labelled: Array, rim: Array, raster: Raster
) -> tuple[list[Section], int]:
    """Return the sections of one margin field, and the number of ignored small ones."""
    parts, count = ndimage.label(own > 0)
    if structure == "aa":
        parts, count = _split_branches(own, parts, count, raster)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    agreed = np.bincount(parts.ravel(), weights=labelled.ravel(), minlength=count + 1)
    found: list[Section] = []
    small = 0
    for n, box in enumerate(ndimage.find_objects(parts), start=1):
        if (
            sizes[n] * raster.step_mm**2 < MIN_AREA_MM2 / 2
            or agreed[n] < MIN_LABELLED_SHARE * sizes[n]
        ):
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


def _split_branches(own: Array, parts: Array, count: int, raster: Raster) -> tuple[Array, int]:
    """Number the parts of a margin field anew, with those apart that join where the margin is below `SPLIT_MARGIN`."""
    cores, cores_count = ndimage.label(own > SPLIT_MARGIN)
    area = np.bincount(cores.ravel(), minlength=cores_count + 1) * raster.step_mm**2
    numbers = np.arange(1, cores_count + 1)
    home = np.asarray(ndimage.maximum(parts, cores, numbers), dtype=int)
    markers, made, parted = np.zeros(parts.shape, int), 0, False
    for part in range(1, count + 1):
        inside = numbers[home == part]
        least = max(MIN_AREA_MM2, MIN_BRANCH_SHARE * max(area[inside], default=0.0))
        limbs = [cores == core for core in inside if area[core] >= least]
        parted |= len(limbs) > 1
        for where in limbs if len(limbs) > 1 else [parts == part]:
            made += 1
            markers[where] = made
    if not parted:
        return parts, count
    joined: Array = watershed(-own, markers, mask=own > 0)  # type: ignore[no-untyped-call]
    return joined, made


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
