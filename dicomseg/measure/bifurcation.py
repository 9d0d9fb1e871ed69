"""Other values that a vessel's diameter may have: near a bifurcation, or where one section holds two vessels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dicomseg.measure.branches import widest_branch_mm
from dicomseg.measure.lengths import min_feret, solidity
from dicomseg.measure.marks import Mark
from dicomseg.measure.polygons import Section
from dicomseg.measure.quantities import WIDEST, Quantity
from dicomseg.measure.scene import PARALLEL_OFFSETS_MM, Scene
from dicomseg.measure.sections import (
    Anatomy,
    Line,
    NamedSection,
)
from dicomseg.result import Refusal
from dicomseg.structures import StructureId

MIN_SOLIDITY: Final = 0.93
MIN_ROUNDNESS: Final = 0.6
"""Below this solidity, or ratio of least to largest diameter, one cross-section may be two merged vessels."""


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Other values in mm that a diameter may have, on parallel planes or of a part of its section, and why."""

    values: tuple[float, ...] = ()
    why: str = ""
    where: str = ""
    marks: tuple[Mark, ...] = ()


def count_sections(q: Quantity, anatomy: Anatomy) -> int:
    """Return the number of sections of a quantity's vessels."""
    parts = [p for name in q.vessels for p in vessel_sections(anatomy, name)]
    return len(parts)


def vessel_sections(anatomy: Anatomy, vessel: StructureId) -> tuple[NamedSection, ...]:
    """Return the sections of a vessel; none where it is refused."""
    parts = anatomy.arteries if vessel == "aa" else anatomy.veins
    return parts if isinstance(parts, tuple) else ()


def alternatives(q: Quantity, line: Line, scene: Scene) -> Alternatives:
    """Find other values of a vessel's diameter, near a bifurcation or where its section holds two vessels."""
    if q.kind != "diameter" or not q.vessels:
        return Alternatives()
    (vessel,) = q.vessels
    parts, rows = vessel_sections(scene.anatomy, vessel), scene.near.get(vessel, ())
    if any(len(row) != len(parts) for row in rows):
        counts = ", ".join(
            f"{len(r)} at {o:+g} mm" for r, o in zip(rows, PARALLEL_OFFSETS_MM, strict=True)
        )
        values = (_value_by_sections(q, scene, row) for row in rows if row)
        text = f"near a bifurcation: {len(parts)} cross-sections in the mid-disc plane, {counts}"
        return Alternatives(
            tuple(v for v in values if v is not None),
            "the number of vessel cross-sections changes",
            f", and up to {max(PARALLEL_OFFSETS_MM):g} mm away",
            (("at_bifurcation", text),),
        )
    widest = next(p for p in parts if p.name == line.start)
    return _merged(q, widest, vessel, alone=len(parts) == 1)


def _merged(q: Quantity, part: NamedSection, vessel: StructureId, *, alone: bool) -> Alternatives:
    """Whether a section has the shape of more than one vessel, and how wide the widest part of it is.

    A vein is flat by nature: only its bays count, and only where it is one: the left branch lies about the disc's front.
    """
    polygon = part.section.polygon
    ratio = min_feret(polygon).length_mm / part.section.widest.length_mm
    is_solid = solidity(polygon) >= MIN_SOLIDITY
    if (is_solid and ratio >= MIN_ROUNDNESS) if vessel == "aa" else (is_solid or not alone):
        return Alternatives()
    what = "two vessels merged" if alone else "a vessel merged with part of a neighbouring one"
    shape = f"(solidity {solidity(polygon):.2f}, minimum to maximum diameter {ratio:.2f})"
    values = (widest_branch_mm(polygon),) if q.method == WIDEST else ()
    widest = f"; its widest part alone is {values[0]:.1f} mm" if values else ""
    text = f"cross-section may be {what} {shape}{widest}"
    flag = "at_bifurcation" if alone else "section_merged"
    return Alternatives(
        values, f"cross-section may be {what}" if values else "", "", ((flag, text),)
    )


def _value_by_sections(q: Quantity, scene: Scene, sections: Sequence[Section]) -> float | None:
    """The vessel's value by its sections on another plane; None where it has none."""
    parts = tuple(NamedSection(str(n), s) for n, s in enumerate(sections))
    is_artery = q.vessels == ("aa",)
    anatomy = scene.anatomy
    line = q.find(replace(anatomy, arteries=parts) if is_artery else replace(anatomy, veins=parts))
    return None if isinstance(line, Refusal) else line.span.length_mm
