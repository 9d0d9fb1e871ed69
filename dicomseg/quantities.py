"""What is measured: each line of the report with its name, its definition and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from dicomseg.anatomy import Anatomy, Line, Part, diameter, distance
from dicomseg.lengths import extent_back, min_feret
from dicomseg.result import Refusal
from dicomseg.structures import Side


@dataclass(frozen=True, slots=True)
class Quantity:
    """One line of the report: how it is called, defined and found."""

    name: str
    kind: Literal["distance", "diameter"]
    method: str
    side: Side | None
    find: Callable[[Anatomy], Line | Refusal]


def _least(parts: tuple[Part, ...] | Refusal) -> Line | Refusal:
    line = diameter(parts)
    if isinstance(line, Refusal) or isinstance(parts, Refusal):
        return line
    part = next(p for p in parts if p.name == line.start)
    return replace(line, span=min_feret(part.section.polygon))


def _sac(dura: Part | Refusal) -> Line | Refusal:
    if isinstance(dura, Refusal):
        return dura
    if dura.section.is_cut:
        return Refusal("cut_by_image", "the dural sac is cut by the end of the image")
    polygon = dura.section.polygon
    note = f"area {polygon.area:.0f} mm² in the disc plane"
    return Line(extent_back(polygon), dura.name, dura.name, note)


_SHORTEST: Final = "shortest distance of the outlines in the oblique mid-disc plane"
_WIDEST: Final = "maximum Feret diameter of the largest section in the oblique mid-disc plane"
_NARROWEST: Final = "minimum Feret diameter of the section with the largest maximum one"

QUANTITIES: Final = (
    Quantity("OC", "distance", _SHORTEST, "left", lambda a: distance(a.left_psoas, a.arteries)),
    Quantity("DAA", "diameter", _WIDEST, None, lambda a: diameter(a.arteries)),
    Quantity("DIVC", "diameter", _WIDEST, None, lambda a: diameter(a.veins)),
    Quantity("PI", "distance", _SHORTEST, "right", lambda a: distance(a.right_psoas, a.veins)),
    Quantity(
        "OC_any",
        "distance",
        f"{_SHORTEST}, to the nearest vessel of any kind",
        "left",
        lambda a: distance(a.left_psoas, a.arteries, a.veins),
    ),
    Quantity(
        "OC_right",
        "distance",
        f"{_SHORTEST}, to the nearest vessel of any kind",
        "right",
        lambda a: distance(a.right_psoas, a.arteries, a.veins),
    ),
    Quantity(
        "psoas_vein_left", "distance", _SHORTEST, "left", lambda a: distance(a.left_psoas, a.veins)
    ),
    Quantity("DAA_min", "diameter", _NARROWEST, None, lambda a: _least(a.arteries)),
    Quantity("DIVC_min", "diameter", _NARROWEST, None, lambda a: _least(a.veins)),
    Quantity(
        "dural_sac_ap",
        "diameter",
        "front to back through the centroid in the oblique mid-disc plane",
        None,
        lambda a: _sac(a.dura),
    ),
)
"""OC, DAA, DIVC, PI first. DAA and DIVC are named by the vessel that is the widest there."""
