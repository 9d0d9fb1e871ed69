"""How sure a value is: one standard deviation, or a range where a standard deviation would mislead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.bifurcation import Alternatives, count_sections
from dicomseg.measure.quantities import Quantity
from dicomseg.measure.scene import Scene
from dicomseg.measure.sections import Anatomy, Line
from dicomseg.measurement_names import MODEL_UNKNOWN, UNIT_TEXTS
from dicomseg.result import Unit

CONTOUR_SHARE: Final = {"distance": 0.02, "diameter": 0.03}
"""Contour error (k = 1) as a share of the voxel: measured on smooth phantoms of known shape."""

EDGE_SHARE: Final = 0.015
"""Displacement of one outline (k = 1) as a share of the voxel: half of a diameter's, 1/√2 of a distance's."""

PLANE_MOVES_TEXT: Final = "plane moved ±1 mm, tilted ±2°"
"""`dicomseg.measure.scene.PLANE_MOVES` in words."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """One standard deviation in the value's unit, or a range where there is none, and what it contains.

    soft: minimum and maximum of the value and of those between shifted outlines; softness: half their difference.
    """

    sd: float | None
    range: tuple[float, float] | None
    soft: tuple[float, float]
    note: str

    @property
    def softness(self) -> float:
        """Half of what the value moves by."""
        return (self.soft[1] - self.soft[0]) / 2


@dataclass(frozen=True, slots=True)
class Spread:
    """What a value would be elsewhere, in its unit.

    parts: standard uncertainties by their names. shifted: values between outlines moved inwards and outwards, fewer
    than two where it is lost. moved: values of each pair of moved planes, none of what does not lie on the plane.
    model: of the model, None where unknown.
    """

    value: float
    parts: Mapping[str, float]
    shifted: Sequence[float]
    moved: Sequence[Sequence[float]]
    model: float | None = None
    unit: Unit = "mm"


def quantity_text(value: float, unit: Unit) -> str:
    """Return a number with the decimals that its unit bears, and the unit."""
    after, digits, _ = UNIT_TEXTS[unit]
    return f"{value:.{digits}f}{after}"


def standard_note(parts: Mapping[str, float], unit: Unit, model: float | None = None) -> str:
    """Return what a standard uncertainty contains. parts: their names, with remarks, and sizes."""
    return f"Standard uncertainty (k = 1): {_parts_text(parts, unit, model)}"


def _parts_text(parts: Mapping[str, float], unit: Unit, model: float | None) -> str:
    digits = UNIT_TEXTS[unit][2]
    texts = [_part_text(name, size, digits) for name, size in parts.items()]
    return ", ".join([*texts, MODEL_UNKNOWN if model is None else f"model {model:.{digits}f}"])


def _part_text(name: str, size: float, digits: int) -> str:
    what, _, remark = name.partition(" (")
    return f"{what} {size:.{digits}f}" + (f" ({remark}" if remark else "")


def combine(spread: Spread, others: Alternatives, why: str) -> Uncertainty:
    """Combine the parts, the plane and the model; a range where `why` says that a standard deviation would mislead."""
    value, unit = spread.value, spread.unit
    soft = (min(value, *spread.shifted, value), max(value, *spread.shifted, value))
    own = sum(part**2 for part in spread.parts.values()) + (spread.model or 0.0) ** 2
    squares = [(float(np.ptp([value, *values])) / 2) ** 2 / 3 for values in spread.moved]
    if why:
        values = [value, *others.values, *(v for pair in spread.moved for v in pair)]
        values += spread.shifted if len(spread.shifted) < 2 else []
        margin = 2 * math.sqrt(own)
        low, high = min(values) - margin, max(values) + margin
        low = max(0.0, low) if min(values) >= 0 else low
        note = _range_note(spread, (low, high), f"{others.where}: {why}")
        return Uncertainty(None, (low, high), soft, note)
    parts = dict(spread.parts)
    if spread.moved:
        parts[f"plane ({PLANE_MOVES_TEXT})"] = math.sqrt(sum(squares))
    note = standard_note(parts, unit, spread.model)
    return Uncertainty(math.sqrt(own + sum(squares)), None, soft, note)


def _range_note(spread: Spread, ends: tuple[float, float], why: str) -> str:
    digits = UNIT_TEXTS[spread.unit][1]
    parts = _parts_text(spread.parts, spread.unit, spread.model)
    moves = f", {PLANE_MOVES_TEXT}" if spread.moved else ""
    return (
        f"Range {ends[0]:.{digits}f} to {quantity_text(ends[1], spread.unit)}{moves}{why};"
        f" widened by twice the standard uncertainty ({parts})"
    )


def estimate_uncertainty(
    q: Quantity, line: Line, scene: Scene, others: Alternatives
) -> Uncertainty:
    """Estimate how sure a length is; a range where the vessel's sections change or the value is lost."""
    value = line.span.length_mm
    shifted = _lengths(q, scene.soft)
    moved = [_lengths(q, pair) for pair in scene.pairs]
    error = scene.model.get(q.name)
    soft = [value, *shifted]
    model = None if error is None else error.of((max(soft) - min(soft)) / 2)
    spread = Spread(
        value, {"contour": CONTOUR_SHARE[q.kind] * scene.voxel_mm}, shifted, moved, model
    )
    why = others.why
    if not why and q.kind == "diameter":
        why = _sections_change(q, scene)
    return combine(spread, others, why or why_lost(spread))


def _sections_change(q: Quantity, scene: Scene) -> str:
    count = count_sections(q, scene.anatomy)
    planes = [anatomy for pair in scene.pairs for anatomy in pair]
    changes = any(count_sections(q, a) != count for a in planes)
    return "the number of vessel cross-sections changes" if changes else ""


def why_lost(spread: Spread) -> str:
    """Say why a standard deviation would mislead: the value is lost elsewhere; "" where it is not."""
    lost = sum(2 - len(values) for values in spread.moved)
    if lost:
        return f"{lost} of {2 * len(spread.moved)} moved planes give no value"
    is_lost = len(spread.shifted) < 2
    return "the value is lost when uncertain boundaries are moved" if is_lost else ""


def values_of(find: Callable[[Anatomy], float | None], anatomies: Sequence[Anatomy]) -> list[float]:
    """Return the value by each anatomy; fewer values than anatomies where it is refused by some."""
    values = (find(anatomy) for anatomy in anatomies)
    return [value for value in values if value is not None]


def _lengths(q: Quantity, anatomies: Sequence[Anatomy]) -> list[float]:
    def length_mm(anatomy: Anatomy) -> float | None:
        line = q.find(anatomy)
        return line.span.length_mm if isinstance(line, Line) else None

    return values_of(length_mm, anatomies)
