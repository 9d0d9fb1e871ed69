"""Further values of the mid-disc plane: areas, positions and shares with unit, uncertainty and refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.bifurcation import Alternatives
from dicomseg.measure.marks import Mark, reassigned_marks, unsure_marks
from dicomseg.measure.plane import to_lps
from dicomseg.measure.readings import (
    ZONES,
    Reading,
    psoas_back,
    psoas_front,
    sac_area,
    section_area,
    vein_left_edge,
    vessel_cover,
    zone_of,
)
from dicomseg.measure.scene import Scene
from dicomseg.measure.sections import Anatomy
from dicomseg.measure.uncertainty import EDGE_SHARE, Spread, combine, values_of, why_lost
from dicomseg.result import FurtherValue, Plane, Refusal, Unit
from dicomseg.structures import Side, StructureId
from dicomseg.volume import Array, Point, to_point


@dataclass(frozen=True, slots=True)
class Definition:
    """What a further value means; method: one sentence, and what its stored points are."""

    name: str
    unit: Unit
    method: str
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class FurtherQuantity:
    """A further value of the mid-disc plane. vessels: whose sections it is measured on. classify: its classes."""

    what: Definition
    find: Callable[[Anatomy], Reading | Refusal]
    vessels: tuple[StructureId, ...] = ()
    classify: Callable[[float], str] | None = None


_AREA: Final = "area of the cross-section in the oblique mid-disc plane; points: its outline"
_FRONT: Final = (
    "how far the muscle reaches in front of the disc, along the front to back axis of the oblique mid-disc plane,"
    " negative behind the disc's front; points: the muscle's front, and its foot on a line through the disc's front"
)
_ZONE: Final = (
    "where the back edge of the muscle lies along the disc's depth in the oblique mid-disc plane, 0 at the disc's front"
    " and 1 at its back; zones: quarters I to IV from front to back, A before the disc, P behind it (Moro; Barber 2017,"
    " World Neurosurg 107:396); points: the back edge, and its foot on a line through the disc's front"
)
_COVER: Final = (
    "share of the disc's width with an artery or vein in front of or beside it, seen from the front, in the oblique mid-disc"
    " plane; points: pairs of ends of what is covered"
)
_EDGE: Final = (
    "how far the veins reach to the left of the disc's centre in the oblique mid-disc plane, negative where they end to the"
    " right of it; points: the edge, and its foot on the line through the disc's centre"
)
_SAC: Final = (
    "area of the dural sac at the mid-disc plane, across its course where that is known: area in the plane times the cosine"
    " of its obliquity; points: its outline in the plane"
)

FURTHER: Final = (
    FurtherQuantity(
        Definition("psoas_area_left", "mm2", _AREA, "left"), lambda a: section_area(a.left_psoas)
    ),
    FurtherQuantity(
        Definition("psoas_area_right", "mm2", _AREA, "right"),
        lambda a: section_area(a.right_psoas),
    ),
    FurtherQuantity(
        Definition("psoas_front_left", "mm", _FRONT, "left"),
        lambda a: psoas_front(a.left_psoas, a.disc),
    ),
    FurtherQuantity(
        Definition("psoas_front_right", "mm", _FRONT, "right"),
        lambda a: psoas_front(a.right_psoas, a.disc),
    ),
    FurtherQuantity(
        Definition("psoas_zone_left", "ratio", _ZONE, "left"),
        lambda a: psoas_back(a.left_psoas, a.disc),
        classify=zone_of,
    ),
    FurtherQuantity(
        Definition("psoas_zone_right", "ratio", _ZONE, "right"),
        lambda a: psoas_back(a.right_psoas, a.disc),
        classify=zone_of,
    ),
    FurtherQuantity(
        Definition("vessel_cover", "ratio", _COVER), vessel_cover, vessels=("aa", "ivc")
    ),
    FurtherQuantity(Definition("vein_left_edge", "mm", _EDGE), vein_left_edge, vessels=("ivc",)),
    FurtherQuantity(Definition("dural_sac_area", "mm2", _SAC), sac_area),
)


def further_value(q: FurtherQuantity, scene: Scene) -> FurtherValue:
    """Measure one further value, with its uncertainty or range."""
    what, found = q.what, q.find(scene.anatomy)
    if isinstance(found, Refusal):
        return refused_value(what, found)

    def number(anatomy: Anatomy) -> float | None:
        reading = q.find(anatomy)
        return reading.value if isinstance(reading, Reading) else None

    spread = Spread(
        found.value,
        {"contour": EDGE_SHARE * scene.voxel_mm * found.sensitivity},
        values_of(number, scene.soft),
        [values_of(number, pair) for pair in scene.pairs],
        unit=what.unit,
    )
    unsure = combine(spread, Alternatives(), why_lost(spread))
    marks, category = reassigned_marks(q.vessels, scene), None
    if what.unit == "mm":
        marks += unsure_marks(unsure.soft)
    if q.classify is not None:
        category = q.classify(found.value)
        nearby = (*spread.shifted, *(v for pair in spread.moved for v in pair))
        marks += _borderline({q.classify(v) for v in nearby} - {category})
    return FurtherValue(
        what.name,
        what.method,
        what.unit,
        what.side,
        value=found.value,
        category=category,
        uncertainty=unsure.sd,
        range=unsure.range,
        uncertainty_note=unsure.note,
        softness=unsure.softness,
        start=found.start,
        end=found.end,
        points_lps=stored_points(scene.middle.plane, found.points_ab),
        note="; ".join(text for text in (found.note, *(text for _, text in marks)) if text),
        flags=tuple(dict.fromkeys([*scene.flags, *(flag for flag, _ in marks)])),
    )


def refused_value(what: Definition, refusal: Refusal) -> FurtherValue:
    """Return a further value that is absent, and why."""
    return FurtherValue(what.name, what.method, what.unit, what.side, refusal=refusal)


def stored_points(plane: Plane, points_ab: Array) -> tuple[Point, ...]:
    """Convert points (n, 2) on the plane to LPS points."""
    return tuple(to_point(point) for point in np.atleast_2d(to_lps(plane, points_ab)))


def _borderline(others: set[str]) -> list[Mark]:
    if not others:
        return []
    named = " or ".join(sorted(others, key=ZONES.index))
    return [("zone_borderline", f"zone {named} when the plane or uncertain boundaries are moved")]
