"""`Plan`: what a surgeon asks about the mid-disc plane, worked out from the outlines; (a, b) and LPS in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from shapely.geometry import Polygon

from dicomseg.draw.corridor import Corridor, find_corridor
from dicomseg.draw.forks import VESSELS, Fork, find_forks
from dicomseg.measure.contours import outline_sections
from dicomseg.measure.midplane import MidPlane, find_midplane
from dicomseg.measure.plane import Raster, to_lps, to_plane
from dicomseg.measure.polygons import Section
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Measurements, Plane
from dicomseg.segmentation import Segmentation
from dicomseg.structures import Side, StructureId

RASTER: Final = Raster(-70.0, -62.0, 0.4, (351, 276))
"""Around the plane's point: what panel A may show."""
DEPTH_MM: Final = 1.0
SHOWN: Final[tuple[StructureId, ...]] = ("ivd", "dura", "n4", "pm", "ivc", "aa")
"""Outlined on the plane, in the order of drawing."""
_ZONES: Final = ("I", "II", "III", "IV")


@dataclass(frozen=True, slots=True)
class PsoasPosition:
    """One psoas beside the disc.

    front_mm: how far it reaches in front of the disc, negative behind its front. zone: of its back edge, A before the
    disc, I (front) to IV (back) quarters of the disc, P behind it. is_cut: the image border truncates it.
    """

    area_mm2: float
    front_mm: float
    zone: str
    is_cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The plane that is shown, its outlines, and what follows from them; None where it cannot be found.

    cover: share 0…1 of the disc's width with a vessel in front. vein_left_mm: how far veins reach to the left of the
    disc's centre, negative where they end right of it. wedge_deg: angle between the end plates of the disc.
    """

    plane: Plane
    sections: Mapping[StructureId, tuple[Section, ...]]
    disc: Section | None = None
    corridor: Corridor | None = None
    forks: Mapping[StructureId, Fork] = field(default_factory=dict)
    psoas: Mapping[Side, PsoasPosition] = field(default_factory=dict)
    cover: float | None = None
    gaps_mm: Mapping[StructureId, float] = field(default_factory=dict)
    vein_left_mm: float | None = None
    sac_mm2: float | None = None
    wedge_deg: float | None = None


def build_plan(seg: Segmentation, measurements: Measurements, shown: Plane) -> Plan:
    """Work out the plan of one result.

    shown: the measured plane, or one to show in its place; then only outlines are given, since nothing was measured.
    """
    box = to_lps(shown, RASTER.corners_ab)
    field_near = ScoreField.around(seg, box, DEPTH_MM)
    sections = outline_sections(field_near, shown, RASTER, SHOWN).sections
    disc = next(iter(sections["ivd"]), None)
    if measurements.plane is None or disc is None:
        return Plan(shown, sections, disc)
    middle = find_midplane(seg)
    a0, _, a1, _ = disc.polygon.bounds
    vessels = {name: _polygons(sections[name]) for name in VESSELS}
    coarse = ScoreField(seg.scores.logits, seg.scores.affine, 0.0, seg)
    sac = next(iter(sections["dura"]), None)
    veins = vessels["ivc"]
    return Plan(
        shown,
        sections,
        disc,
        corridor=_corridor(measurements, shown, sections, disc.polygon),
        forks=find_forks(coarse, shown),
        psoas=_psoas(sections["pm"], disc.polygon),
        cover=_covered([*vessels["aa"], *veins], a0, a1),
        gaps_mm={
            name: min(p.distance(disc.polygon) for p in parts)
            for name, parts in vessels.items()
            if parts
        },
        vein_left_mm=max(p.bounds[2] for p in veins) - disc.centre_ab[0] if veins else None,
        sac_mm2=None if sac is None or sac.is_truncated else float(sac.polygon.area),
        wedge_deg=middle.wedge_deg if isinstance(middle, MidPlane) else None,
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


def _psoas(sections: Sequence[Section], disc: Polygon) -> dict[Side, PsoasPosition]:
    """Position of the largest section on each side."""
    middle = disc.centroid.x
    _, front, _, back = disc.bounds
    out: dict[Side, PsoasPosition] = {}
    for section in sections:  # largest first
        side: Side = "left" if section.centre_ab[0] > middle else "right"
        if side in out:
            continue
        _, muscle_front, _, muscle_back = section.polygon.bounds
        quarter = (muscle_back - front) / (back - front) * 4
        zone = "A" if quarter <= 0 else "P" if quarter > 4 else _ZONES[min(int(quarter), 3)]
        area = float(section.polygon.area)
        out[side] = PsoasPosition(area, front - muscle_front, zone, section.is_truncated)
    return out


def _covered(vessels: Sequence[Polygon], low: float, high: float) -> float:
    """Share of the interval [low, high] along a that the vessels overlap."""
    covered, at = 0.0, low
    for start, _, end, _ in sorted(p.bounds for p in vessels):
        covered += max(0.0, min(end, high) - max(start, at))
        at = max(at, min(end, high))
    return covered / (high - low)
