"""Shape the vertebral bodies and discs as implicit surfaces, each in its own frame.

Frames: u left, v back, w up along the vertebra's own axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.volume import Array, Points
from training.phantom.solids import Bounds, rounded, smooth_max

VERTEBRAE: Final = ("s2", "s1", "l5", "l4", "l3", "l2", "l1", "t12", "t11")
"""From below."""
DISCS: Final = ("s1s2", "l5s1", "l45", "l34", "l23", "l12", "t12l1", "t11t12")
"""disc n lies between vertebra n and n + 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A centre and axes."""

    centre: Points
    """Anatomy mm."""
    axes: Points
    """Columns are left, back, up."""

    def at(self, u: float, v: float, w: float) -> Points:
        """Return the anatomy point of local coordinates."""
        return np.asarray(self.centre + self.axes @ np.array([u, v, w]))

    def local(self, x: Array, y: Array, z: Array) -> list[Array]:
        """Return local u, v, w of anatomy coordinates, mm."""
        c, a = self.centre.tolist(), self.axes.T.tolist()
        dx, dy, dz = x - c[0], y - c[1], z - c[2]
        return [row[0] * dx + row[1] * dy + row[2] * dz for row in a]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A vertebral body: superellipse with waist, hollow back wall, wedged hollow end-plates."""

    frame: Frame
    half_width_mm: float
    half_depth_mm: float
    height_mm: float
    slopes: tuple[float, float]
    """dz/dv of upper and lower end-plate in the local frame."""
    hollows_mm: tuple[float, float]
    """Depth of the upper and lower end-plate's hollow, deepest a little behind the middle."""
    waist: float = 0.07
    square: float = 0.4

    def bounds(self) -> Bounds:
        """Return the box of the body."""
        half = np.array([self.half_width_mm, self.half_depth_mm, self.height_mm / 2]) * 1.08
        half[2] += abs(self.slopes[0]) * self.half_depth_mm + 1.0
        reach = np.abs(self.frame.axes) @ half
        low, high = self.frame.centre - reach, self.frame.centre + reach
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def plate(self, u: Array, v: Array, *, upper: bool) -> Array:
        """Return the local height w of an end-plate at (u, v)."""
        a, b = self.half_width_mm, self.half_depth_mm
        round2 = (u / (0.82 * a)) ** 2 + ((v - 0.12 * b) / (0.78 * b)) ** 2
        bowl = np.clip(1.0 - round2, 0.0, 1.0)
        bowl = bowl * (2.0 - bowl)
        if upper:
            return np.asarray(self.height_mm / 2 + self.slopes[0] * v - self.hollows_mm[0] * bowl)
        return np.asarray(-self.height_mm / 2 + self.slopes[1] * v + self.hollows_mm[1] * bowl)

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the body."""
        u, v, w = self.frame.local(x, y, z)
        a, b = self.half_width_mm, self.half_depth_mm
        middle = np.clip(1.0 - (2.0 * w / self.height_mm) ** 2, 0.0, 1.0)
        narrow = 1.0 / (1.0 - self.waist * middle)
        hollow = (1.2 + 1.3 * middle) * np.exp(-((u / (0.33 * a)) ** 2))
        back = np.where(v > 0, v + hollow * np.clip(v / b, 0, 1), v)
        q = rounded(u * narrow / a, back * narrow / b, self.square)
        radial = (q - 1.0) * (0.5 * (a + b))
        caps = np.maximum(w - self.plate(u, v, upper=True), self.plate(u, v, upper=False) - w)
        return smooth_max(radial, caps, 1.8)


@dataclass(frozen=True, slots=True, eq=False)
class Disc:
    """A disc: taller than its gap, so that the bodies painted over it make its faces.

    At the rims its radius is that of the bodies; between them it bulges, beyond them it shrinks.
    """

    frame: Frame
    half_width_mm: float
    half_depth_mm: float
    gap_mm: float
    slope: float
    bulge_mm: float
    square: float = 0.35

    def bounds(self) -> Bounds:
        """Return the box of the disc."""
        half = np.array([self.half_width_mm + 3, self.half_depth_mm + 3, self.gap_mm / 2 + 8])
        reach = np.abs(self.frame.axes) @ half
        low, high = self.frame.centre - reach, self.frame.centre + reach
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the implicit function of the disc."""
        u, v, w = self.frame.local(x, y, z)
        half = np.maximum(self.gap_mm / 2 - self.slope * v, 1.0)
        level = np.abs(w) / half
        excess = np.maximum(np.abs(w) - half, 0.0)
        swell = self.bulge_mm * np.clip(1.0 - level * level, 0.0, 1.0) - 0.35 * np.minimum(
            excess, 6
        )
        a, b = self.half_width_mm + swell, self.half_depth_mm + swell
        hollow = 1.0 * np.exp(-((u / (0.3 * self.half_width_mm)) ** 2))
        back = np.where(v > 0, v + hollow * np.clip(v / b, 0, 1), v)
        q = rounded(u / a, back / b, self.square)
        return smooth_max((q - 1.0) * (0.5 * (a + b)), excess - 3.2, 0.8)
