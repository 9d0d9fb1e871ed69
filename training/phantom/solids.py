"""Solids as implicit functions in anatomy space: tubes, rods, ellipsoids and their combinations.

A field f(x, y, z) is negative inside and about a distance in mm. Anatomy space: mm, +x left, +y back,
+z up, origin at the centre of the L4/5 disc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from scipy.interpolate import PchipInterpolator

from dicomseg.volume import Array, Points

_FINE_MM: Final = 0.02
"""Step of the table that painting reads a tube's parameters from."""

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]


class Shape(Protocol):
    """A solid in anatomy space."""

    def bounds(self) -> Bounds:
        """Return the lowest and highest (x, y, z) of the solid in mm."""
        ...

    def field(self, x: Array, y: Array, z: Array, /) -> Array:
        """Return the implicit function in about mm, negative inside; any broadcastable shape."""
        ...


@runtime_checkable
class Sectioned(Protocol):
    """A long shape that can tell its box between two heights."""

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Return the box (x low, y low, x high, y high) between two heights in mm."""
        ...


def _union(bounds: Sequence[Bounds]) -> Bounds:
    low = np.min([b[0] for b in bounds], axis=0)
    high = np.max([b[1] for b in bounds], axis=0)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def smooth_max(a: Array, b: Array, round_mm: float) -> Array:
    """Return the maximum with its crease rounded over `round_mm`; equals the maximum elsewhere."""
    overlap = np.maximum(round_mm - np.abs(a - b), 0.0)
    return np.asarray(np.maximum(a, b) + overlap * overlap * (0.25 / round_mm))


def rounded(u: Array, v: Array, square: float) -> Array:
    """Return the size of (u, v) in a norm between the circle (0) and a square with round corners (1)."""
    u2, v2 = u * u, v * v
    round_size = np.sqrt(u2 + v2)
    if not square:
        return np.asarray(round_size)
    return np.asarray((1.0 - square) * round_size + square * np.sqrt(np.sqrt(u2 * u2 + v2 * v2)))


class Tube:
    """A quasi-vertical tube: superellipse sections whose parameters are functions of z.

    knots: rows (z, x, y, half width, half depth, angle in degrees), any order of z; interpolated
    monotonically. square: 0 is an ellipse, 1 a square with round corners. taper: how much narrower
    the back is than the front (0.3 makes a rounded triangle). z outside the knots is outside.
    """

    __slots__ = ("_bounds", "_fine", "_square", "_step", "_table", "_taper", "_z")

    def __init__(self, knots: Points, square: float = 0.0, taper: float = 0.0) -> None:
        knots = np.asarray(knots, dtype=np.float64)
        knots = knots[np.argsort(knots[:, 0])]
        self._z = (float(knots[0, 0]), float(knots[-1, 0]))
        count = max(int((self._z[1] - self._z[0]) / 0.5) + 2, 3)
        z = np.linspace(*self._z, count)
        self._step = z[1] - z[0]
        values = PchipInterpolator(knots[:, 0], knots[:, 1:])(z)
        values[:, 2:4] = np.maximum(values[:, 2:4], 0.2)
        slope = np.gradient(values[:, :2], self._step, axis=0)
        oblique = np.sqrt(1.0 + (slope**2).sum(axis=1))
        angle = np.deg2rad(values[:, 4])
        size = np.minimum(values[:, 2], values[:, 3]) / oblique
        table = [values[:, :2], 1 / values[:, 2:4], np.cos(angle), np.sin(angle), size]
        self._table = np.column_stack(table)
        fine = np.arange(self._z[0], self._z[1] + _FINE_MM, _FINE_MM)
        self._fine = np.stack([np.interp(fine, z, column) for column in self._table.T]).astype(
            np.float32
        )
        reach = values[:, 2:4].max(axis=1)[:, None] * 1.1
        low, high = (values[:, :2] - reach).min(axis=0), (values[:, :2] + reach).max(axis=0)
        self._bounds: Bounds = ((low[0], low[1], self._z[0]), (high[0], high[1], self._z[1]))
        self._square, self._taper = square, taper

    def bounds(self) -> Bounds:
        """Return the box of the tube."""
        return self._bounds

    def at(self, z: Array) -> Array:
        """Return the parameters (7, ...) at heights z: x, y, 1/half width, 1/half depth, cos, sin, size.

        float32 heights are looked up in steps of 0.02 mm (painting), float64 ones interpolated.
        """
        z = np.asarray(z)
        if z.dtype == np.float32:
            steps = (z - np.float32(self._z[0])) * np.float32(1 / _FINE_MM)
            np.clip(steps, 0, self._fine.shape[1] - 1, out=steps)
            return np.stack([np.take(row, steps.astype(np.int32)) for row in self._fine])
        steps = np.clip((z - self._z[0]) / self._step, 0, len(self._table) - 1.001)
        index = steps.astype(np.int32)
        part, table = steps - index, self._table.T
        return np.asarray(table[:, index] * (1 - part) + table[:, index + 1] * part)

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Return the box (x low, y low, x high, y high) of the part between two heights."""
        rows = np.linspace(
            max(z_low, self._z[0]), min(z_high, self._z[1]), max(int((z_high - z_low) / 2), 2)
        )
        p = self.at(rows)
        a, b, c, s = 1 / p[2], 1 / p[3], np.abs(p[4]), np.abs(p[5])
        wide, deep = 1.05 * (a * c + b * s), 1.05 * (a * s + b * c)
        if self._taper:
            wide = wide / (1 - self._taper)
        return (
            float((p[0] - wide).min()),
            float((p[1] - deep).min()),
            float((p[0] + wide).max()),
            float((p[1] + deep).max()),
        )

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the tube."""
        p = self.at(z)
        dx, dy, c, s = x - p[0], y - p[1], p[4], p[5]
        u = (c * dx + s * dy) * p[2]
        v = (c * dy - s * dx) * p[3]
        if self._taper:
            u = u * (1.0 + self._taper * np.clip(v, -1.0, 1.0))
        f = (rounded(u, v, self._square) - 1.0) * p[6]
        return np.asarray(np.maximum(f, np.maximum(z - self._z[1], self._z[0] - z)))


class Capsule:
    """A rod between two points with a radius at each end, flattened along one axis if wanted."""

    __slots__ = ("_a", "_bounds", "_d", "_flat", "_length2", "_r")

    def __init__(
        self,
        start: Sequence[float] | Points,
        stop: Sequence[float] | Points,
        radius_mm: tuple[float, float],
        flat: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        self._flat = np.asarray(flat, dtype=np.float64)
        self._a = np.asarray(start, dtype=np.float64) * self._flat
        self._d = np.asarray(stop, dtype=np.float64) * self._flat - self._a
        self._length2 = max(float(self._d @ self._d), 1e-6)
        self._r = radius_mm
        ends = np.array([start, stop], dtype=np.float64)
        reach = max(radius_mm) / self._flat
        low, high = (ends - reach).min(axis=0), (ends + reach).max(axis=0)
        self._bounds: Bounds = ((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def bounds(self) -> Bounds:
        """Return the box of the rod."""
        return self._bounds

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the rod."""
        (fx, fy, fz), a, d = self._flat.tolist(), self._a.tolist(), self._d.tolist()
        px, py, pz = x * fx - a[0], y * fy - a[1], z * fz - a[2]
        t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / self._length2, 0.0, 1.0)
        radius = self._r[0] + (self._r[1] - self._r[0]) * t
        distance = np.sqrt((px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2)
        return np.asarray(distance - radius)


class Ellipsoid:
    """An ellipsoid with axes along x, y, z."""

    __slots__ = ("_centre", "_half")

    def __init__(self, centre: Sequence[float] | Points, half_mm: Sequence[float] | Points) -> None:
        self._centre = tuple(float(v) for v in centre)
        self._half = tuple(float(v) for v in half_mm)

    def bounds(self) -> Bounds:
        """Return the box of the ellipsoid."""
        low = [c - h for c, h in zip(self._centre, self._half, strict=True)]
        high = [c + h for c, h in zip(self._centre, self._half, strict=True)]
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the ellipsoid."""
        (cx, cy, cz), (a, b, c) = self._centre, self._half
        q = np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2)
        return np.asarray((q - 1.0) * min(a, b, c))


class Union:
    """Several solids as one, with creases filled over `round_mm`."""

    __slots__ = ("_parts", "_round_mm")

    def __init__(self, parts: Sequence[Shape], round_mm: float = 0.0) -> None:
        self._parts, self._round_mm = tuple(parts), round_mm

    def bounds(self) -> Bounds:
        """Return the box around all parts."""
        return _union([part.bounds() for part in self._parts])

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the union."""
        f = self._parts[0].field(x, y, z)
        for part in self._parts[1:]:
            g = part.field(x, y, z)
            f = -smooth_max(-f, -g, self._round_mm) if self._round_mm else np.minimum(f, g)
        return f


class Without:
    """A solid minus another one."""

    __slots__ = ("_cut", "_solid")

    def __init__(self, solid: Shape, cut: Shape) -> None:
        self._solid, self._cut = solid, cut

    def bounds(self) -> Bounds:
        """Return the box of the solid before the cut."""
        return self._solid.bounds()

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the difference."""
        return np.maximum(self._solid.field(x, y, z), -self._cut.field(x, y, z))
