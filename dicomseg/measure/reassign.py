"""Sections that are not branches of their vessel: which they are, and which structure they are reassigned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from shapely import contains_xy
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from dicomseg.measure.branches import surplus_branches
from dicomseg.measure.plane import Raster
from dicomseg.measure.polygons import (
    MIN_BRANCH_SHARE,
    PlaneView,
    Section,
    to_ab,
)
from dicomseg.structures import BY_ID, BY_VALUE, StructureId
from dicomseg.volume import Array, Points

SUPPRESSED_BY: Final = 1.0
"""How far, in logits, a suppressed channel lies below the best other one."""


REMNANT_MM: Final = 1.0
"""Parts this near to a piece go with it: those too small to count, and its rim on the raster."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A section that is not a branch of its vessel, why, and which structure it is reassigned to; None for background."""

    section: Section
    why: str
    instead: StructureId | None


def find_pieces(sections: tuple[Section, ...]) -> list[tuple[Section, str]]:
    """Return the sections that are not branches of their vessel, and why."""
    small = [s for s in sections[1:] if _is_too_small(s, sections[0])]
    rest = [s for s in sections if s not in small]
    thin = [rest[n] for n in surplus_branches([s.polygon for s in rest])]
    return [(s, "too small to be an iliac vessel") for s in small] + [
        (s, "thinner than two other cross-sections") for s in thin
    ]


def reassign(
    logits: Array, piece: Section, beside: Sequence[Section], view: PlaneView
) -> StructureId | None:
    """Suppress a piece's own channel on it and its remnants, in place; return what has the best logit there then.

    beside: sections of the same vessel, which keep theirs.
    """
    value = BY_ID[piece.structure].value
    grown = piece.polygon.buffer(REMNANT_MM).difference(unary_union([s.polygon for s in beside]))
    box, points = _box_about(grown, view.raster)
    nearby = logits[(slice(None), *box)]
    others = np.delete(nearby, value, axis=0).max(axis=0)
    suppressed = np.minimum(nearby[value], others - SUPPRESSED_BY - max(view.gain, 0))
    nearby[value] = np.where(contains_xy(grown, *points), suppressed, nearby[value])
    best = nearby.argmax(axis=0)[contains_xy(piece.polygon, *points)]
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
    points = np.moveaxis(to_ab(index, raster), -1, 0)
    return (slice(first[0], last[0]), slice(first[1], last[1])), points


def _is_too_small(section: Section, largest: Section) -> bool:
    """Whether a section is too small to be a branch; one that the image border truncates may be larger."""
    return (
        not section.is_truncated and section.polygon.area < MIN_BRANCH_SHARE * largest.polygon.area
    )
