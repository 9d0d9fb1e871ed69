"""Vessel outlines by their shape: which of several are branches, and how wide one is without what adheres to it.

Arteries are round tubes; veins lie flat on the disc. Polygons are (a, b) in mm on a plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from dicomseg.measure.lengths import max_feret, min_feret

MAX_BRANCHES: Final = 2
"""Arteries and veins of this level: the vessel itself, or its left and right common iliac branch."""

EROSION_SHARE: Final = 0.6
"""Largest erosion of an outline, as a share of its largest inscribed radius: a tongue thinner than this share of
the vessel is not part of its tube."""
EROSION_STEP_MM: Final = 0.25
MIN_BRANCH_MM2: Final = 8.0
"""Smaller remains are not a branch: a circle of 3.2 mm diameter."""


def surplus_branches(polygons: Sequence[Polygon]) -> list[int]:
    """Return the numbers of the outlines beyond `MAX_BRANCHES`: the thinnest are not branches.

    A third artery in a segmentation is a piece of the left common iliac vein, which is pressed flat on the disc
    between the arteries.
    """
    if len(polygons) <= MAX_BRANCHES:
        return []
    thick = [min_feret(p).length_mm for p in polygons]
    order = sorted(range(len(polygons)), key=lambda n: -thick[n])
    return sorted(order[MAX_BRANCHES:])


def widest_branch_mm(polygon: Polygon) -> float:
    """Return the largest diameter in mm of the widest part that an outline falls into when it is eroded.

    It is eroded in small steps until it parts, or by `EROSION_SHARE` of its largest inscribed radius, and what
    is left grows back by as much: of two joined branches the wider one, of a round vessel with a thin tongue the vessel.
    """
    parts = [polygon]
    for worn in np.arange(EROSION_STEP_MM, EROSION_SHARE * _inscribed_mm(polygon), EROSION_STEP_MM):
        parts = _opened(polygon, float(worn)) or parts
        if len(parts) > 1:
            break
    rid = [q for p in parts for q in _opened(p, EROSION_SHARE * _inscribed_mm(p))]
    return max(max_feret(p).length_mm for p in rid or parts)


def _opened(polygon: Polygon, by_mm: float) -> list[Polygon]:
    """Parts of an outline that is worn down and grown back by the same amount, without those too small for a branch."""
    left = [p.buffer(by_mm) for p in _polygons(polygon.buffer(-by_mm))]
    return [p for p in left if p.area >= MIN_BRANCH_MM2]


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    parts = getattr(shape, "geoms", [shape])
    return [p for p in parts if isinstance(p, Polygon) and not p.is_empty]


def _inscribed_mm(polygon: Polygon) -> float:
    """Radius of the largest circle inside, to `EROSION_STEP_MM` / 8, by halving."""
    low, high = 0.0, min_feret(polygon).length_mm
    while high - low > EROSION_STEP_MM / 8:
        middle = (low + high) / 2
        low, high = (low, middle) if polygon.buffer(-middle).is_empty else (middle, high)
    return low
