"""The measured quantities: each line of the report with its name, its definition and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from dicomseg.measure.lengths import extent_back, min_feret
from dicomseg.measure.sections import Anatomy, Line, NamedSection, diameter, distance
from dicomseg.result import Refusal
from dicomseg.structures import Side, StructureId


@dataclass(frozen=True, slots=True)
class Quantity:
    """One line of the report: how it is called, defined and found. vessels: whose sections it is measured on."""

    name: str
    kind: Literal["distance", "diameter"]
    method: str
    side: Side | None
    find: Callable[[Anatomy], Line | Refusal]
    vessels: tuple[StructureId, ...] = ()


def _narrowest(parts: tuple[NamedSection, ...] | Refusal) -> Line | Refusal:
    line = diameter(parts)
    if isinstance(line, Refusal) or isinstance(parts, Refusal):
        return line
    part = next(p for p in parts if p.name == line.start)
    return replace(line, span=min_feret(part.section.polygon))


def _sac(dura: NamedSection | Refusal) -> Line | Refusal:
    if isinstance(dura, Refusal):
        return dura
    if dura.section.is_truncated:
        return Refusal("cut_by_image", "dural sac is truncated at the image border")
    polygon = dura.section.polygon
    note = f"area {polygon.area:.0f} mm² in the disc plane"
    return Line(extent_back(polygon), dura.name, dura.name, note)


_SHORTEST: Final = "shortest distance between the outlines in the oblique mid-disc plane"
WIDEST: Final = (
    "maximum Feret diameter in the oblique mid-disc plane: of the aorta or IVC; of two common iliac vessels that of the"
    " wider one; across both where they have just joined"
)
_NARROWEST: Final = "minimum Feret diameter of the cross-section with the largest maximum diameter"
_ARTERY: Final[tuple[StructureId, ...]] = ("aa",)
_VEIN: Final[tuple[StructureId, ...]] = ("ivc",)
_ANY: Final = (*_ARTERY, *_VEIN)
_TO_ANY: Final = f"{_SHORTEST}, to the nearest artery or vein"
_SAC: Final = "front to back through the centroid in the oblique mid-disc plane"

QUANTITIES: Final = (
    Quantity(
        "OC", "distance", _SHORTEST, "left", lambda a: distance(a.left_psoas, a.arteries), _ARTERY
    ),
    Quantity("DAA", "diameter", WIDEST, None, lambda a: diameter(a.arteries), _ARTERY),
    Quantity("DIVC", "diameter", WIDEST, None, lambda a: diameter(a.veins), _VEIN),
    Quantity(
        "PI", "distance", _SHORTEST, "right", lambda a: distance(a.right_psoas, a.veins), _VEIN
    ),
    Quantity(
        "OC_any",
        "distance",
        _TO_ANY,
        "left",
        lambda a: distance(a.left_psoas, a.arteries, a.veins),
        _ANY,
    ),
    Quantity(
        "OC_right",
        "distance",
        _TO_ANY,
        "right",
        lambda a: distance(a.right_psoas, a.arteries, a.veins),
        _ANY,
    ),
    Quantity(
        "psoas_vein_left",
        "distance",
        _SHORTEST,
        "left",
        lambda a: distance(a.left_psoas, a.veins),
        _VEIN,
    ),
    Quantity("DAA_min", "diameter", _NARROWEST, None, lambda a: _narrowest(a.arteries), _ARTERY),
    Quantity("DIVC_min", "diameter", _NARROWEST, None, lambda a: _narrowest(a.veins), _VEIN),
    Quantity("dural_sac_ap", "diameter", _SAC, None, lambda a: _sac(a.dura)),
    Quantity(
        "artery_disc", "distance", _SHORTEST, None, lambda a: distance(a.disc, a.arteries), _ARTERY
    ),
    Quantity("vein_disc", "distance", _SHORTEST, None, lambda a: distance(a.disc, a.veins), _VEIN),
)
"""OC, DAA, DIVC, PI first. Which branch DAA and DIVC mean is the line's name: the wider one. Where branches have just
joined they are measured across both, flagged `at_bifurcation`, with a range that begins at the wider branch alone."""
