"""How sure a value is: one standard deviation, or a range where a standard deviation would mislead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.bifurcation import Alternatives, count_sections
from dicomseg.measure.quantities import Quantity
from dicomseg.measure.scene import Scene
from dicomseg.measure.sections import Anatomy, Line

CONTOUR_SHARE: Final = {"distance": 0.02, "diameter": 0.03}
"""Contour error (k = 1) as a share of the voxel: measured on smooth phantoms of known shape."""


PLANE_MOVES_TEXT: Final = "plane moved ±1 mm, tilted ±2°"
"""`dicomseg.measure.scene.PLANE_MOVES` in words."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """One standard deviation in mm, or a range where there is none, and what it contains.

    soft_mm: minimum and maximum of the value and of those between shifted outlines; softness_mm: half their difference.
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
    """Combine contour, plane and model; a range where the vessel's sections change or the value is lost."""
    value = line.span.length_mm
    contour = CONTOUR_SHARE[q.kind] * scene.voxel_mm
    shifted = _values(q, scene.soft)
    soft = (min(value, *shifted, value), max(value, *shifted, value))
    error = scene.model.get(q.name)
    model = None if error is None else error.of((soft[1] - soft[0]) / 2)
    model_text = "model uncertainty unknown" if model is None else f"model {model:.2f}"
    moved = [_values(q, pair) for pair in scene.pairs]
    squares = [contour**2, (model or 0.0) ** 2]
    squares += [(float(np.ptp([value, *values])) / 2) ** 2 / 3 for values in moved]
    is_lost = len(shifted) < len(scene.soft)
    why = others.why or _why_range(q, scene, moved, is_lost=is_lost)
    if why:
        values = [value, *others.values, *(v for pair in moved for v in pair)]
        values += shifted if is_lost else []
        margin = 2 * math.sqrt(sum(squares[:2]))
        low, high = max(0.0, min(values) - margin), max(values) + margin
        note = (
            f"Range {low:.1f} to {high:.1f} mm, {PLANE_MOVES_TEXT}{others.where}: {why};"
            f" widened by twice the standard uncertainty (contour {contour:.2f}, {model_text})"
        )
        return Uncertainty(None, (low, high), soft, note)
    plane = math.sqrt(sum(squares[2:]))
    parts = f"contour {contour:.2f}, plane {plane:.2f} ({PLANE_MOVES_TEXT}), {model_text}"
    return Uncertainty(
        math.sqrt(sum(squares)), None, soft, f"Standard uncertainty (k = 1): {parts}"
    )


def _why_range(
    q: Quantity, scene: Scene, moved: Sequence[Sequence[float]], *, is_lost: bool
) -> str:
    """Say why a standard deviation would mislead, "" where it does not."""
    count = count_sections(q, scene.anatomy)
    planes = [anatomy for pair in scene.pairs for anatomy in pair]
    if q.kind == "diameter" and any(count_sections(q, a) != count for a in planes):
        return "the number of vessel cross-sections changes"
    lost = len(planes) - sum(len(values) for values in moved)
    if lost:
        return f"{lost} of {len(planes)} moved planes give no value"
    return "the value is lost when uncertain boundaries are moved" if is_lost else ""


def _values(q: Quantity, anatomies: Sequence[Anatomy]) -> list[float]:
    """Return the value in mm by each anatomy; fewer values than anatomies where it is refused by some."""
    lines = [q.find(anatomy) for anatomy in anatomies]
    return [line.span.length_mm for line in lines if isinstance(line, Line)]
