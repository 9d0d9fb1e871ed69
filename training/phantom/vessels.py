"""Shape aorta, iliac arteries, vena cava and iliac veins, and move them to their targets.

The vessels lie on the front of the column; the right common iliac artery rides on the vein. The
solver changes radii until the largest diameters at the disc plane meet DAA and DIVC, and shifts each
tree along the front of the column until OC and PI are met or the anatomy forbids it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from scipy.spatial import ConvexHull, QhullError, cKDTree
from scipy.spatial.distance import pdist
from skimage.measure import find_contours

from dicomseg.structures import BY_ID
from dicomseg.volume import Array, Points
from training.phantom.column import Column
from training.phantom.person import Person, Targets, stream
from training.phantom.rasterise import Coat, Stroke
from training.phantom.solids import Shape, Tube, Union

AA, IVC = BY_ID["aa"].value, BY_ID["ivc"].value
_RASTER_MM = 0.5
_ROUNDS = 7
_NEAR_MM = 22.0
"""Height over which a vein's width at the disc passes into its own: veins fill and collapse in places."""


class Movable(Protocol):
    """Vessels that the solver widens and shifts."""

    @property
    def scale(self) -> float:
        """Factor on the radii."""
        ...

    def scaled(self, scale: float) -> Self:
        """Return these vessels with another factor."""
        ...

    def moved(self, shift_x: float) -> Self:
        """Return these vessels shifted sideways, mm."""
        ...

    def drawn(self) -> dict[str, Any]:
        """Return what was drawn, for the card."""
        ...

    def shape(self, column: Column, low: float, high: float) -> Shape:
        """Return the vessels between two heights as one solid."""
        ...


MovableT = TypeVar("MovableT", bound=Movable)


@dataclass(frozen=True, slots=True)
class Tree:
    """One artery or vein tree: a trunk that divides into two branches."""

    fork_mm: float
    """Height z of the division."""
    trunk_x: float
    """mm at the disc."""
    trunk_r: tuple[float, float]
    """Half width and half depth of the trunk, mm."""
    limb_r: tuple[float, float]
    """Half width and half depth of a branch, mm."""
    spread: tuple[float, float]
    """Sideways mm per mm below the fork, left and right."""
    gap_mm: tuple[float, float]
    """Between vessel and column, left and right."""
    shift_x: float
    scale: float
    """Factor on the radii, of a `local` tree only near the disc."""
    wave_mm: float
    phase: float
    local: bool = False

    def scaled(self, scale: float) -> Self:
        """Return this tree with another factor on its radii."""
        return replace(self, scale=scale)

    def moved(self, shift_x: float) -> Self:
        """Return this tree shifted sideways from where it was drawn, mm."""
        return replace(self, shift_x=shift_x)

    def drawn(self) -> dict[str, Any]:
        """Return what was drawn, for the card."""
        return asdict(self)

    def knots(self, column: Column, part: int, low: float, high: float) -> Points:
        """Return the centre line of trunk (0), left (1) or right (-1) branch between two heights."""
        if part == 0:
            z = np.arange(self.fork_mm - 2.0, high + 6, 6.0)
            x = np.full(len(z), self.trunk_x)
            a, b = self.trunk_r
        else:
            z = np.append(np.arange(self.fork_mm + 6.0, low - 6, -6.0), low - 8)
            below = np.maximum(self.fork_mm - z, 0.0)
            start = 0.35 * self.trunk_r[0] * part * min(self.limb_r[0] / self.trunk_r[0], 0.6)
            x = (
                self.trunk_x
                + start
                + part * (self.spread[0] if part > 0 else self.spread[1]) * below
            )
            a, b = self.limb_r
        x = x + self.shift_x + self.wave_mm * np.sin(z / 13.0 + self.phase + part)
        gap = self.gap_mm[0] if part >= 0 else self.gap_mm[1]
        scale = self._scale(z)
        inner = x - np.sign(x) * 0.6 * a * scale  # a wide vein must clear the wall's curve
        front = np.minimum(
            [column.front(float(xx), float(zz)) for xx, zz in zip(x, z, strict=True)],
            [column.front(float(xx), float(zz)) + 0.3 * b for xx, zz in zip(inner, z, strict=True)],
        )
        kernel = np.array([0.25, 0.5, 0.25])
        padded = np.pad(front, 1, mode="edge")
        front = np.convolve(padded, kernel, mode="valid")
        y = front - gap - b * scale
        angle = np.rad2deg(np.arctan(np.clip(x / 45.0, -0.6, 0.6)))
        return np.column_stack([z, x, y, a * scale, b * scale, angle])

    def _scale(self, z: Points) -> Points:
        """Return the factor on the radii at each height."""
        near = np.exp(-((z / _NEAR_MM) ** 2)) if self.local else np.ones(len(z))
        return np.asarray(1.0 + (self.scale - 1.0) * near)

    def shape(self, column: Column, low: float, high: float) -> Shape:
        """Return the complete tree as one solid."""
        parts: list[Shape] = []
        if self.fork_mm - 2 < high:
            parts.append(Tube(self.knots(column, 0, low, high), 0.05))
        if self.fork_mm + 6 > low:
            parts += [Tube(self.knots(column, part, low, high), 0.05) for part in (1, -1)]
        return Union(parts, 1.5)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRaster:
    """A raster of the disc plane in anatomy space for the solver."""

    x: Array
    y: Array
    z: Array

    @classmethod
    def through_disc(cls, column: Column) -> PlaneRaster:
        """Return a raster of x −75…75, from 65 mm in front of the disc's centre to 30 mm behind it."""
        axes = column.discs["l45"].frame.axes
        across, back = np.meshgrid(
            np.arange(-75, 75, _RASTER_MM), np.arange(-65, 30, _RASTER_MM), indexing="xy"
        )
        p = across[..., None] * axes[:, 0] + back[..., None] * axes[:, 1]
        return cls(p[..., 0], p[..., 1], p[..., 2])

    def contours(self, shape: Shape) -> list[Points]:
        """Return the outlines of a shape as (n, 2) points in mm of this raster, largest first."""
        f = shape.field(self.x, self.y, self.z)
        outlines = [c * _RASTER_MM for c in find_contours(np.pad(f, 1, constant_values=9.0), 0.0)]  # type: ignore[no-untyped-call]
        return sorted((c for c in outlines if len(c) > 8), key=len, reverse=True)


def _feret(points: Points) -> float:
    try:
        return float(pdist(points[ConvexHull(points).vertices]).max())
    except QhullError:
        return 0.0


def _gap(a: list[Points], b: list[Points]) -> float:
    if not a or not b:
        return 99.0
    return float(cKDTree(np.vstack(a)).query(np.vstack(b))[0].min())


def resize(
    tree: MovableT,
    column: Column,
    plane: PlaneRaster,
    target_mm: float,
    span: tuple[float, float],
    limits: tuple[float, float],
) -> MovableT:
    """Scale the tree until its largest section's diameter is the target."""
    for _ in range(3):
        outlines = plane.contours(tree.shape(column, *span))
        if not outlines:
            return tree
        ratio = target_mm / max(_feret(c) for c in outlines)
        tree = tree.scaled(float(np.clip(tree.scale * ratio, *limits)))
    return tree


def slide(
    tree: MovableT,
    column: Column,
    plane: PlaneRaster,
    muscle: Shape,
    target_mm: float,
    span: tuple[float, float],
    reach: tuple[float, float],
) -> MovableT:
    """Shift the tree along the front until its gap to the muscle is the target."""
    outline = plane.contours(muscle)
    inside = muscle.field(plane.x, plane.y, plane.z) < 0
    far, near = reach
    for _ in range(_ROUNDS):
        middle = 0.5 * (far + near)
        trial = tree.moved(middle)
        solid = trial.shape(column, *span)
        touching = bool((solid.field(plane.x, plane.y, plane.z)[inside] < 0).any())
        gap = 0.0 if touching else _gap(plane.contours(solid), outline)
        if touching or gap < target_mm:
            near = middle
        else:
            far = middle
    return tree.moved(0.5 * (far + near))


def build_vessels(
    seed: int,
    column: Column,
    person: Person,
    targets: Targets,
    psoas: tuple[Shape, Shape],
    span: tuple[float, float],
) -> tuple[Tree, Tree]:
    """Build arteries and veins that meet the targets at the disc plane.

    psoas: (left, right). span: lowest and highest z in mm that the image shows.
    """
    rng = stream(seed, "vessels")
    plane = PlaneRaster.through_disc(column)
    arteries, veins = _draw_trees(rng, person, targets)
    arteries = resize(arteries, column, plane, targets.daa_mm, span, (0.75, 1.35))
    veins = resize(veins, column, plane, targets.divc_mm, span, (0.4, 2.0))
    arteries = slide(arteries, column, plane, psoas[0], targets.oc_mm, span, (-22.0, 26.0))
    veins = slide(veins, column, plane, psoas[1], targets.pi_mm, span, (24.0, -24.0))
    return arteries, veins


def _draw_trees(rng: np.random.Generator, person: Person, targets: Targets) -> tuple[Tree, Tree]:
    """Draw arteries and veins before they are moved to their targets."""
    spread = np.tan(np.deg2rad(np.clip(rng.normal([16, 19], [5, 5]), 6, 32)))
    wave = float(rng.uniform(0.2, 1.2) + max(person.age - 60, 0) * 0.06)
    arteries = Tree(
        targets.bifurcation_mm,
        float(rng.normal(4.5, 2)),
        (float(rng.normal(8.3, 0.7)), float(rng.normal(8.0, 0.7))),
        (float(rng.normal(5.4, 0.4)), float(rng.normal(5.1, 0.4))),
        (float(spread[0]), float(spread[1])),
        (float(rng.uniform(0.8, 4.5)), float(rng.uniform(4.0, 8.5))),
        0.0,
        1.0,
        wave,
        float(rng.uniform(0, 6.28)),
    )
    collapse = float(rng.uniform(0.42, 0.8))
    open_deg = np.clip(rng.normal([27, 25], [6, 6]), 12, 42)
    veins = Tree(
        targets.confluence_mm,
        float(rng.normal(-15, 2)),
        (10.5, 10.5 * collapse),
        (6.8, 6.8 * min(collapse * 1.1, 0.9)),
        (float(np.tan(np.deg2rad(open_deg[0]))), float(np.tan(np.deg2rad(open_deg[1]))) * 0.8),
        (float(rng.uniform(0.7, 1.6)), float(rng.uniform(0.7, 1.8))),
        0.0,
        1.0,
        float(rng.uniform(0.1, 0.8)),
        float(rng.uniform(0, 6.28)),
        local=True,
    )
    return arteries, veins


def vessel_strokes(
    seed: int, column: Column, trees: tuple[Tree, Tree], span: tuple[float, float]
) -> list[Stroke]:
    """Paint veins first, arteries over them."""
    rng = stream(seed, "blood")
    vein = "vein_slow" if rng.random() < 0.15 else "vein"
    arteries, veins = (tree.shape(column, *span) for tree in trees)
    return [
        Stroke(veins, (Coat(0, "vessel_wall", IVC), Coat(0.6, vein, IVC))),
        Stroke(arteries, (Coat(0, "vessel_wall", AA), Coat(0.9, "artery", AA))),
    ]
