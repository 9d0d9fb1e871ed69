"""Vessels that lie on the front of the column and take its curve: flat veins, crossing the midline on a disc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, map_coordinates

from dicomseg.volume import Array, Points
from training.phantom.column import Column
from training.phantom.solids import Bounds, rounded

_STEP_MM: Final = 2.0
_HALF_MM: Final = 60.0
_STEEPEST: Final = 0.8
"""mm back per mm sideways: beside the column a vessel leaves the wall and lies in the groove before psoas."""


@dataclass(frozen=True, slots=True, eq=False)
class Wall:
    """The front of the column as a smooth table over x and z."""

    y: Points
    """(z, x), mm."""
    low_mm: float
    """z of the first row."""

    @classmethod
    def of(cls, column: Column, low: float, high: float) -> Wall:
        """Tabulate the front between two heights, mm."""
        x = np.arange(-_HALF_MM, _HALF_MM + _STEP_MM / 2, _STEP_MM)
        z = np.arange(low, high + _STEP_MM, _STEP_MM)
        front = np.array([[column.front(float(a), float(b)) for a in x] for b in z])
        across = _STEEPEST * np.abs(x[:, None] - x)
        front = (front[:, None, :] + across).min(axis=2)
        # A step from a disc to a body is a slope for a vessel; it never dips behind either.
        return cls(np.minimum(gaussian_filter1d(front, 2.0, axis=0), front), float(z[0]))

    def at(self, x: Array, z: Array) -> Array:
        """Return y of the wall, mm, at any broadcastable points; beyond the table that of its edge."""
        where = [(z - self.low_mm) / _STEP_MM, (x + _HALF_MM) / _STEP_MM]
        return np.asarray(
            map_coordinates(self.y, np.broadcast_arrays(*where), order=1, mode="nearest")
        )


class Draped:
    """A tube on the wall: its section is an ellipse in (x, mm in front of the wall).

    knots: rows (z, x, half width, half depth, gap to the wall), any order of z. z outside of them is outside.
    """

    __slots__ = ("_bounds", "_table", "_wall", "_z")

    def __init__(self, knots: Points, wall: Wall) -> None:
        knots = np.asarray(knots, dtype=np.float64)
        knots = knots[np.argsort(knots[:, 0])]
        self._z = np.linspace(knots[0, 0], knots[-1, 0], max(int(np.ptp(knots[:, 0]) * 2) + 2, 3))
        values = PchipInterpolator(knots[:, 0], knots[:, 1:])(self._z)
        values[:, 1:3] = np.maximum(values[:, 1:3], 0.5)
        slope = np.gradient(values[:, 0], self._z)
        size = values[:, 1:3].min(axis=1) / np.sqrt(1.0 + slope**2)
        self._table, self._wall = np.column_stack([values, size]), wall
        x0, y0, x1, y1 = self._box(values, self._z)
        self._bounds: Bounds = (
            (x0, y0, float(self._z[0])),
            (x1, y1, float(self._z[-1])),
        )

    def _box(self, values: Points, z: Points) -> tuple[float, float, float, float]:
        x, a, b, gap = values[:, :4].T
        steps = np.linspace(-1.05, 1.05, 9)[:, None]
        y = self._wall.at(x + steps * a, z) - gap - b
        return (
            float((x - 1.1 * a).min()),
            float((y - 1.1 * b).min()) - 1.0,
            float((x + 1.1 * a).max()),
            float((y + 1.1 * b).max()) + 1.0,
        )

    def bounds(self) -> Bounds:
        """Return the box of the tube."""
        return self._bounds

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Return the box (x low, y low, x high, y high) of the part between two heights."""
        z = np.linspace(
            max(z_low, self._z[0]), min(z_high, self._z[-1]), max(int((z_high - z_low) * 2), 2)
        )
        return self._box(np.column_stack(self.at(z)), z)

    def at(self, z: Array) -> list[Points]:
        """Return x, half width, half depth, gap and size at heights z."""
        return [np.interp(z, self._z, column) for column in self._table.T]

    def field(self, x: Array, y: Array, z: Array, /) -> Array:
        """Return the implicit function of the tube."""
        middle, a, b, gap, size = self.at(z)
        v = (y - self._wall.at(x, z) + gap + b) / b
        f = (rounded((x - middle) / a, v, 0.0) - 1.0) * size
        ends = np.maximum(z - self._z[-1], self._z[0] - z)
        return np.asarray(np.maximum(f, ends), dtype=np.result_type(x, y, z))

    def front(self, x: Points, z: Points) -> Points:
        """Return y of the tube's front, mm; the wall's where the tube is not."""
        middle, a, b, gap, _ = self.at(z)
        inside = np.maximum(1.0 - ((x - middle) / a) ** 2, 0.0)
        there = (inside > 0) & (z >= self._z[0]) & (z <= self._z[-1])
        wall = self._wall.at(x, z)
        return np.asarray(np.where(there, wall - gap - b * (1.0 + np.sqrt(inside)), wall))


def front_of(tubes: Sequence[Draped], wall: Wall, x: Points, z: Points) -> Points:
    """Return y of what lies in front at (x, z), mm: a tube or the wall."""
    return np.asarray(np.min([wall.at(x, z), *(tube.front(x, z) for tube in tubes)], axis=0))
