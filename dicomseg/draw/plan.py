"""`Plan`: what is drawn of the mid-disc plane, worked out from outlines and values; (a, b) and LPS in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from shapely.geometry import Polygon

from dicomseg.draw.corridor import Corridor, find_corridor
from dicomseg.measure.contours import outline_sections
from dicomseg.measure.plane import Raster, to_lps, to_plane
from dicomseg.measure.polygons import Section
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Measurements, Plane
from dicomseg.segmentation import Segmentation
from dicomseg.structures import StructureId

RASTER: Final = Raster(-70.0, -62.0, 0.4, (351, 276))
"""Around the plane's point: what panel A may show."""
DEPTH_MM: Final = 1.0
SHOWN: Final[tuple[StructureId, ...]] = ("ivd", "dura", "n4", "pm", "ivc", "aa")
"""Outlined on the plane, in the order of drawing."""
FORKS: Final[Mapping[StructureId, str]] = {
    "aa": "aortic_bifurcation_height",
    "ivc": "iliac_confluence_height",
}
"""Further values that say how high above the plane a vessel divides."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The plane that is shown, its outlines, and what follows from them; None where it cannot be found.

    forks_mm: heights above the plane at which vessels divide, of those that are in view.
    """

    plane: Plane
    sections: Mapping[StructureId, tuple[Section, ...]]
    disc: Section | None = None
    corridor: Corridor | None = None
    forks_mm: Mapping[StructureId, float] = field(default_factory=dict)


def build_plan(seg: Segmentation, measurements: Measurements, shown: Plane) -> Plan:
    """Outline the plane of one result and find the corridor on it.

    shown: the measured plane, or one to show in its place; then only outlines are given, since nothing was measured.
    """
    box = to_lps(shown, RASTER.corners_ab)
    field_near = ScoreField.around(seg, box, DEPTH_MM)
    sections = outline_sections(field_near, shown, RASTER, SHOWN).sections
    disc = next(iter(sections["ivd"]), None)
    if measurements.plane is None or disc is None:
        return Plan(shown, sections, disc)
    return Plan(
        shown,
        sections,
        disc,
        corridor=_corridor(measurements, shown, sections, disc.polygon),
        forks_mm={
            name: found.value
            for name, key in FORKS.items()
            if (found := measurements.further.get(key)) is not None and found.value is not None
        },
    )


def _polygons(sections: Sequence[Section]) -> list[Polygon]:
    return [s.polygon for s in sections]


def _corridor(
    measurements: Measurements,
    plane: Plane,
    sections: Mapping[StructureId, tuple[Section, ...]],
    disc: Polygon,
) -> Corridor | None:
    points = measurements.main["OC"].points_lps
    if points is None:
        return None
    solids = [p for name in ("pm", "aa", "ivc") for p in _polygons(sections[name])]
    return find_corridor(to_plane(plane, np.array(points)), disc, solids)
