"""How sure a value is: one standard deviation, or a range where a standard deviation would mislead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.bifurcation import (
    Alternatives,
    count_sections,
)
from dicomseg.measure.quantities import Quantity
from dicomseg.measure.scene import Scene
from dicomseg.measure.sections import (
    Line,
)

CONTOUR_SHARE: Final = {"distance": 0.02, "diameter": 0.03}
"""Contour error (k = 1) as a share of the voxel: measured on smooth phantoms of known shape."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How sure a value is: one standard deviation in mm and what it contains, or a range where there is none.

    soft_mm: least and most of the value and of those between outlines that give and that take; softness_mm: half of it.
    """

    sd_mm: float | None
    range_mm: tuple[float, float] | None
    soft_mm: tuple[float, float]
    note: str

    @property
    def softness_mm(self) -> float:
        """Half of what the value moves by."""
        return (self.soft_mm[1] - self.soft_mm[0]) / 2


def estimate_uncertainty(
    q: Quantity, line: Line, scene: Scene, others: Alternatives
) -> Uncertainty:
    """Say how sure a value is."""
    value = line.span.length_mm
    contour = CONTOUR_SHARE[q.kind] * scene.voxel_mm
    given_taken = _soft_values(q, scene)
    soft = (min(value, *given_taken, value), max(value, *given_taken, value))
    error = scene.model.get(q.name)
    model = None if error is None else error.of((soft[1] - soft[0]) / 2)
    told = "model uncertainty not known" if model is None else f"model {model:.2f}"
    squares = [contour**2, (model or 0.0) ** 2]
    seen, lost, changed = [value, *others.values], 0, False
    for pair in scene.pairs:
        there = [q.find(anatomy) for anatomy in pair]
        values = [t.span.length_mm for t in there if isinstance(t, Line)]
        lost += len(pair) - len(values)
        seen += values
        squares.append((float(np.ptp([value, *values])) / 2) ** 2 / 3)
        changed |= q.kind == "diameter" and any(
            count_sections(q, a) != count_sections(q, scene.anatomy) for a in pair
        )
    moves = "plane moved ±1 mm, tilted ±2°"
    vanishes = len(given_taken) < len(scene.soft)
    reasons = (
        (others.why, others.why),
        (changed, "the number of vessel sections changes"),
        (lost, f"{lost} planes give no value"),
        (vanishes, "outlines that give or take where the network is not sure leave no value"),
    )
    why = next((text for holds, text in reasons if holds), "")
    if why:
        seen += given_taken if vanishes else []
        where = f"{moves}{others.where}"
        wide = 2 * math.sqrt(sum(squares[:2]))
        low, high = max(0.0, min(seen) - wide), max(seen) + wide
        said = f"range {low:.1f} to {high:.1f} mm, {where}: {why}; widened by twice contour {contour:.2f}, {told}"
        return Uncertainty(None, (low, high), soft, said)
    plane = math.sqrt(sum(squares[2:]))
    note = f"k = 1: contour {contour:.2f}, plane {plane:.2f} ({moves}), {told}"
    return Uncertainty(math.sqrt(sum(squares)), None, soft, note)


def _soft_values(q: Quantity, scene: Scene) -> list[float]:
    """The value between outlines that give and that take, mm; fewer than two where it is refused there."""
    there = [q.find(anatomy) for anatomy in scene.soft]
    return [t.span.length_mm for t in there if isinstance(t, Line)]
