"""Varied vessels: left common iliac vein flat on the disc, divisions far above and below, tortuous and eccentric limbs.

Veins lie on the column (`draped`), arteries on veins and column. Both are moved to their targets by
the solver of the usual vessels; where a target cannot be met, the value that is there is the truth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from dicomseg.volume import Points
from training.phantom.blood import draw_coats
from training.phantom.column import Column
from training.phantom.draped import Draped, Wall, front_of
from training.phantom.person import Person, Targets, stream
from training.phantom.rasterise import KEEP, Coat, Stroke
from training.phantom.solids import Shape, Tube, Union
from training.phantom.vessels import AA, IVC, PlaneRaster, resize, slide

_BEYOND_MM = 8.0
"""Of tube beyond the heights that the image shows."""
_START = 0.3
"""Where the left vein leaves the cava, in its half widths left of its middle."""


@dataclass(frozen=True, slots=True, eq=False)
class VariedVeins:
    """Vena cava and common iliac veins on the front of the column; lengths in mm."""

    wall: Wall
    confluence_mm: float
    """Height z at which the iliac veins join."""
    cava_x: float
    cava_r: tuple[float, float]
    """Half width and half depth."""
    left_r: tuple[float, float]
    """The same of the left iliac vein, half width across its course."""
    right_r: tuple[float, float]
    left_reach_x: float
    """x that the left vein tends to, far below."""
    left_fall_mm: float
    """Height over which it crosses: the smaller, the flatter its course."""
    right_spread: float
    """mm sideways per mm of height below the confluence."""
    press: float
    """Share of its depth that the left vein loses under the right common iliac artery."""
    gap_mm: tuple[float, float]
    """Between column and left vein, column and the others."""
    wave_mm: float
    phase: float
    shift_x: float = 0.0
    scale: float = 1.0

    def scaled(self, scale: float) -> Self:
        """Return these veins with another factor on their widths."""
        return replace(self, scale=scale)

    def moved(self, shift_x: float) -> Self:
        """Return these veins shifted sideways from where they were drawn."""
        return replace(self, shift_x=shift_x)

    def drawn(self) -> dict[str, Any]:
        """Return what was drawn, for the card."""
        return asdict(replace(self, wall=_NO_WALL)) | {"wall": None}

    def tubes(self, low: float, high: float) -> list[Draped]:
        """Return cava, right and left vein as far as they reach between two heights."""
        fork, out = self.confluence_mm, []
        if fork - 4.0 < high:
            z = np.arange(fork - 4.0, max(high, fork) + _BEYOND_MM, 4.0)
            out.append(self._tube(z, self.cava_x + 0 * z, self.cava_r, self.gap_mm[1]))
        if fork + 4.0 > low:
            z = np.append(np.arange(fork + 4.0, low - 4.0, -4.0), low - _BEYOND_MM)
            below = np.maximum(fork - z, 0.0)
            right = self.cava_x - 3.0 - 18.0 * (1 - np.exp(-below * self.right_spread / 18.0))
            out.append(self._tube(z, right, self.right_r, self.gap_mm[1]))
            out.append(self._left(z, below))
        return out

    def _left(self, z: Points, below: Points) -> Draped:
        start = self.cava_x + _START * self.cava_r[0]
        x = start + (self.left_reach_x - start) * (1 - np.exp(-below / self.left_fall_mm))
        slope = np.gradient(x, z)
        a, b = self.left_r
        # An oblique vein is wide in a level plane.
        wide = np.minimum(a * np.sqrt(1.0 + slope**2), 13.0)
        deep = b * (1.0 - self.press * np.exp(-(((x + 6.0) / 10.0) ** 2)))
        return self._tube(z, x, (wide, deep), self.gap_mm[0])

    def _tube(
        self, z: Points, x: Points, half: tuple[float | Points, float | Points], gap: float
    ) -> Draped:
        x = x + self.shift_x + self.wave_mm * np.sin(z / 13.0 + self.phase)
        one = np.ones(len(z))
        rows = [z, x, half[0] * one * self.scale, half[1] * one * self.scale**0.5, gap * one]
        return Draped(np.column_stack(rows), self.wall)

    def shape(self, _column: Column, low: float, high: float) -> Shape:
        """Return all veins as one solid."""
        return Union(self.tubes(low, high), 1.0)


_NO_WALL = Wall(np.zeros((1, 1)), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class VariedArteries:
    """Aorta and common iliac arteries on the veins and the column; lengths in mm."""

    veins: VariedVeins
    bifurcation_mm: float
    trunk_x: float
    radius_mm: tuple[float, float, float]
    """Of the aorta, the left and the right limb."""
    aspect: tuple[float, float, float]
    """Half width over half depth of the three."""
    angle_deg: tuple[float, float, float]
    spread: tuple[float, float]
    """Sideways mm per mm of height below the division, left and right."""
    gap_mm: tuple[float, float, float]
    """To what lies behind."""
    wave_mm: tuple[float, float]
    """Swing sideways and forward."""
    length_mm: float
    """Of one swing."""
    phase: float
    bulge: tuple[float, float]
    """Height of a wide place and the share by which the radius grows there."""
    shift_x: float = 0.0
    scale: float = 1.0

    def scaled(self, scale: float) -> Self:
        """Return these arteries with another factor on their radii."""
        return replace(self, scale=scale)

    def moved(self, shift_x: float) -> Self:
        """Return these arteries shifted sideways from where they were drawn."""
        return replace(self, shift_x=shift_x)

    def drawn(self) -> dict[str, Any]:
        """Return what was drawn, for the card."""
        return asdict(replace(self, veins=None)) | {"veins": None}  # type: ignore[arg-type]

    def shape(self, _column: Column, low: float, high: float) -> Shape:
        """Return aorta and limbs as one solid."""
        tubes = self.veins.tubes(low - 2 * _BEYOND_MM, high + 2 * _BEYOND_MM)
        fork, parts = self.bifurcation_mm, []
        if fork - 3.0 < high:
            z = np.arange(fork - 3.0, max(high, fork) + _BEYOND_MM, 4.0)
            parts.append(self._tube(0, z, self.trunk_x + 0 * z, tubes))
        if fork + 6.0 > low:
            z = np.append(np.arange(fork + 6.0, low - 4.0, -4.0), low - _BEYOND_MM)
            below = np.maximum(fork - z, 0.0)
            for part, side in ((1, 1.0), (2, -1.0)):
                start = side * min(0.35 * self.radius_mm[0], 0.6 * self.radius_mm[part])
                # Limbs spread fast below the fork and run along psoas further down.
                away = 26.0 * (1 - np.exp(-below * self.spread[part - 1] / 26.0))
                parts.append(self._tube(part, z, self.trunk_x + start + side * away, tubes))
        return Union(parts, 1.5)

    def _tube(self, part: int, z: Points, x: Points, veins: list[Draped]) -> Tube:
        swing = 2 * np.pi * z / self.length_mm + self.phase
        x = x + self.shift_x + self.wave_mm[0] * np.sin(swing + part)
        wide = np.exp(-(((z - self.bulge[0]) / 14.0) ** 2)) * self.bulge[1]
        b = self.radius_mm[part] * self.scale * (1.0 + wide) / np.sqrt(self.aspect[part])
        a = b * self.aspect[part] * np.sqrt(1.0 + np.gradient(x, z) ** 2)
        behind = np.min(
            [front_of(veins, self.veins.wall, x + d * a, z) for d in (-0.55, 0.0, 0.55)], axis=0
        )
        kernel = np.array([0.25, 0.5, 0.25])
        behind = np.convolve(np.pad(behind, 1, mode="edge"), kernel, mode="valid")
        lift = self.wave_mm[1] * (1.0 + np.sin(0.8 * swing + 2.0 * part))
        y = behind - self.gap_mm[part] - b - lift
        angle = np.full(len(z), self.angle_deg[part])
        return Tube(np.column_stack([z, x, y, a, b, angle]), 0.05)


def draw_varied_targets(seed: int, usual: Targets) -> Targets:
    """Draw where the vessels divide, evenly over far more than is common; other targets stay as they are.

    A quarter of the aortas divides below the disc, a quarter far above it. In more than half the iliac veins join above
    the disc, so that two of them are cut (in three of five CT label maps they join 12 to 23 mm above).
    """
    rng = stream(seed, "varied targets")
    kind = rng.random()
    low, high = (-34.0, -6.0) if kind < 0.25 else (24.0, 48.0) if kind < 0.5 else (0.0, 28.0)
    bifurcation = float(rng.uniform(low, high))
    confluence = float(rng.uniform(6.0, 30.0) if rng.random() < 0.75 else rng.uniform(-36.0, 6.0))
    if confluence > bifurcation and rng.random() < 0.5:
        confluence = max(bifurcation - float(rng.uniform(1.0, 12.0)), -40.0)
    daa = rng.normal(11.0, 2.0) if bifurcation > 0 else rng.normal(16.5, 2.5)
    return replace(
        usual,
        bifurcation_mm=bifurcation,
        confluence_mm=confluence,
        daa_mm=float(np.clip(daa, 7.5, 24.0)),
    )


def build_varied_vessels(
    seed: int,
    column: Column,
    person: Person,
    targets: Targets,
    psoas: tuple[Shape, Shape],
    span: tuple[float, float],
) -> tuple[VariedArteries, VariedVeins]:
    """Build arteries and veins near the targets at the disc plane.

    psoas: (left, right). span: lowest and highest z in mm that the image shows.
    """
    rng = stream(seed, "varied vessels")
    plane = PlaneRaster.through_disc(column)
    wall = Wall.of(column, span[0] - 40.0, span[1] + 40.0)
    veins = _draw_veins(rng, wall, targets)
    veins = resize(veins, column, plane, targets.divc_mm, span, (0.7, 1.4))
    veins = slide(veins, column, plane, psoas[1], targets.pi_mm, span, (16.0, -16.0))
    arteries = _draw_arteries(rng, veins, person, targets)
    arteries = resize(arteries, column, plane, targets.daa_mm, span, (0.7, 1.4))
    arteries = slide(arteries, column, plane, psoas[0], targets.oc_mm, span, (-18.0, 22.0))
    return arteries, veins


def _draw_veins(rng: np.random.Generator, wall: Wall, targets: Targets) -> VariedVeins:
    flat = float(rng.uniform(0.35, 0.9))
    thin = float(rng.uniform(0.28, 0.75))
    cava, limb = rng.normal(10.0, 1.3), rng.normal([6.0, 6.0], 0.9)
    cava_x, reach, fall = float(rng.normal(-15, 3)), float(rng.uniform(16, 25)), rng.uniform(14, 45)
    at_disc = float(rng.uniform(-8, 12))
    if targets.confluence_mm > 3.0 and rng.random() < 0.8:  # it crosses the midline on the disc
        start = cava_x + _START * cava
        part = np.clip((at_disc - start) / (reach - start), 0.1, 0.9)
        fall = np.clip(-targets.confluence_mm / np.log(1.0 - part), 8.0, 60.0)
    return VariedVeins(
        wall,
        targets.confluence_mm,
        cava_x,
        (float(cava), float(cava * flat)),
        (float(limb[0]), float(max(limb[0] * thin, 1.6))),
        (float(limb[1]), float(limb[1] * rng.uniform(0.5, 0.95))),
        reach,
        float(fall),
        float(rng.uniform(0.05, 0.6)),
        float(rng.uniform(0, 0.55)),
        (float(rng.exponential(0.5)), float(rng.exponential(0.9))),
        float(rng.uniform(0.1, 1.5)),
        float(rng.uniform(0, 6.28)),
    )


def _draw_arteries(
    rng: np.random.Generator, veins: VariedVeins, person: Person, targets: Targets
) -> VariedArteries:
    radius = rng.normal([8.2, 5.3, 5.3], [0.8, 0.6, 0.6])
    aspect = rng.lognormal(0.0, 0.13, 3)
    angle = rng.uniform(-60, 60, 3)
    spread = np.tan(np.deg2rad(np.clip(rng.normal([20, 22], 9), 3, 45)))
    gap = rng.exponential(0.9, 3)
    tortuous = rng.random() < (0.25 if person.age < 50 else 0.55)
    swing = rng.uniform([2.0, 0.5], [6.0, 3.0]) if tortuous else rng.uniform(0.0, [1.5, 0.6])
    bulges = rng.random() < 0.15
    return VariedArteries(
        veins,
        targets.bifurcation_mm,
        float(rng.normal(3.0, 4.0)),
        (float(radius[0]), float(radius[1]), float(radius[2])),
        (float(aspect[0]), float(aspect[1]), float(aspect[2])),
        (float(angle[0]), float(angle[1]), float(angle[2])),
        (float(spread[0]), float(spread[1])),
        (float(gap[0]), float(gap[1]), float(gap[2])),
        (float(swing[0]), float(swing[1])),
        float(rng.uniform(50, 95)),
        float(rng.uniform(0, 6.28)),
        (float(rng.uniform(-30, 40)), float(rng.uniform(0.15, 0.5)) if bulges else 0.0),
    )


def varied_strokes(
    seed: int,
    column: Column,
    trees: tuple[VariedArteries, VariedVeins],
    span: tuple[float, float],
) -> list[Stroke]:
    """Paint veins, what flows slowly in one of them, and arteries over them."""
    coats = draw_coats(stream(seed, "varied blood"))
    arteries, veins = trees
    parts = veins.tubes(*span)
    slow = parts[coats.slow_vein % len(parts)]
    return [
        Stroke(Union(parts, 1.0), tuple(Coat(mm, tissue, IVC) for mm, tissue in coats.vein)),
        *([Stroke(slow, (Coat(coats.slow_mm, "vein_slow", KEEP),))] if coats.slow else ()),
        Stroke(
            arteries.shape(column, *span),
            tuple(Coat(mm, tissue, AA) for mm, tissue in coats.artery),
        ),
    ]
