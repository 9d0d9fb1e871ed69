"""The regular lattice of slices of one orientation, by least squares, or the flaw that prevents it.

Headers are rounded: positions to 0.1 mm, direction cosines to four digits. So a slice is judged by how
far it lies from its place on the fitted lattice, in mm. Public readers are lenient: SimpleITK stacks
doubled and missing slices without an error, so every flaw is looked for here by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.read.geometry_problem import GeometryProblem, Slice, both_names, join_names
from dicomseg.volume import Array, Point, Points

PLACE_TOLERANCE_MM: Final = 0.1
"""Largest distance of a slice's position from its place on the lattice: positions rounded to 0.1 mm lie
within 0.087 mm of it, and it is an eighth of the paper's slice spacing."""

CORNER_TOLERANCE_MM: Final = 0.4
"""The same for the corner opposite to the position, where noise of the direction cosines shows: 2e-4
over 300 mm move it by up to 0.36 mm. The lattice takes the mean direction, in which noise averages
out; 0.4 mm is half a pixel of the paper's scans, at the border of the image."""

DOUBLED_MM: Final = 0.05
"""Two slices nearer than this are one position twice; no scanner makes slices this thin."""

SHEAR_TOLERANCE: Final = 0.05
"""Largest in-plane shift from slice to slice, in slice spacings; more is a gantry tilt or a mix."""

MAX_SLICES: Final = 10_000
"""A gap that would need more slices than this is not one of missing slices."""

MIN_SLICES: Final = 12
MIN_EXTENT_MM: Final = 10.0
"""Smallest volume in which a disc can be found: about one disc height."""

_ROUNDS: Final = 3
"""Rounds in which spacing and indices settle; one is enough unless many slices are missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Slices in ascending order along the normal row × column, and where they lie.

    directions: (3, 3), unit LPS vectors in columns: normal, column (downwards), row (to the right).
    origin: position of the first slice; step: from slice to slice, LPS mm. spacing: of pixels, as in
    `Slice`.
    """

    slices: tuple[Slice, ...]
    directions: Points
    origin: Points
    step: Points
    spacing: tuple[float, float]


def why_too_few(lattice: Lattice) -> str | None:
    """Say why a lattice holds too little to find a disc in, None when it is large enough."""
    return why_too_thin(len(lattice.slices), float(np.linalg.norm(lattice.step)))


def why_too_thin(count: int, spacing_mm: float) -> str | None:
    """Say why a number of slices is too small, None when it is large enough."""
    extent_mm = count * spacing_mm
    if count < MIN_SLICES:
        return f"{count} slices; at least {MIN_SLICES} are needed"
    if extent_mm < MIN_EXTENT_MM:
        return f"{extent_mm:.1f} mm along the slices; at least {MIN_EXTENT_MM:g} mm are needed"
    return None


def fit_lattice(slices: Sequence[Slice], shape: tuple[int, int]) -> Lattice | GeometryProblem:
    """Fit the lattice of slices of about one orientation. shape: rows and columns of each."""
    directions = mean_directions(slices)
    normal = directions[:, 0]
    ordered = sorted(slices, key=lambda s: float(np.dot(s.position, normal)))
    positions = np.array([s.position for s in ordered])
    pixel = np.median([s.spacing for s in ordered], axis=0)
    spacing = (float(pixel[0]), float(pixel[1]))
    if len(ordered) == 1:
        depth = ordered[0].instance.slice_thickness_mm
        step = normal * (depth if depth and depth > 0 else 1.0)
        return Lattice(tuple(ordered), directions, positions[0], step, spacing)
    gaps = np.diff(positions @ normal)
    flaw = _doubled(ordered, gaps)
    if flaw is not None:
        return flaw
    steps = _steps(gaps)
    index = np.concatenate(([0], np.cumsum(steps)))
    origin, step = _line(index, positions, normal)
    off = positions - origin - index[:, None] * step
    lattice = Lattice(tuple(ordered), directions, origin, step, spacing)
    return (
        _uneven(ordered, gaps, steps, off, normal)
        or _turned(lattice, off, shape)
        or _missing(ordered, positions, steps)
        or _sheared(step, normal)
        or lattice
    )


def mean_directions(slices: Sequence[Slice]) -> Points:
    """Average the orientations: (3, 3) with normal, column and row, orthonormal, in columns."""
    row = np.mean([s.row for s in slices], axis=0)
    column = np.mean([s.column for s in slices], axis=0)
    # Symmetric: the small deviation from a right angle is shared by both.
    plus, minus = row + column, row - column
    plus, minus = plus / np.linalg.norm(plus), minus / np.linalg.norm(minus)
    row, column = (plus + minus) / np.sqrt(2), (plus - minus) / np.sqrt(2)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    directions: Points = np.array([np.cross(row, column), column, row]).T
    return directions


def _doubled(ordered: Sequence[Slice], gaps: Points) -> GeometryProblem | None:
    pairs = [int(n) for n in np.flatnonzero(gaps < DOUBLED_MM)]
    if not pairs:
        return None
    names = [both_names(ordered[n], ordered[n + 1]) for n in pairs]
    return GeometryProblem("doubled-positions", f"same slice position: {join_names(names)}")


def _steps(gaps: Points) -> Array:
    """How many slice spacings every gap is, at least 1."""
    spacing = float(np.median(gaps[gaps <= 1.5 * gaps.min()]))
    for _ in range(_ROUNDS):
        spacing = float(gaps.sum() / np.maximum(np.round(gaps / spacing), 1).sum())
    steps: Array = np.maximum(np.round(gaps / spacing), 1)
    return steps


def _line(index: Array, positions: Points, normal: Points) -> tuple[Points, Points]:
    """Origin and step of the lattice: along the normal where the slices do not drift off it."""
    equations = np.stack([np.ones(len(index)), index], axis=1)
    (origin, step), *_ = np.linalg.lstsq(equations, positions, rcond=None)
    straight = normal * float(step @ normal)
    drift = np.linalg.norm(step - straight) * index[-1]
    if drift >= PLACE_TOLERANCE_MM:
        return origin, step
    return np.mean(positions - index[:, None] * straight, axis=0), straight


def _uneven(
    ordered: Sequence[Slice], gaps: Points, steps: Array, off: Points, normal: Points
) -> GeometryProblem | None:
    distance = np.linalg.norm(off, axis=1)
    if distance.max() <= PLACE_TOLERANCE_MM and steps.sum() <= MAX_SLICES:
        return None
    usual = float(np.median(gaps))
    worst = int(distance.argmax())
    if distance.max() > PLACE_TOLERANCE_MM and abs(off[worst] @ normal) < PLACE_TOLERANCE_MM:
        return GeometryProblem(
            "uneven-spacing",
            f"{ordered[worst].name} is {distance[worst]:.2f} mm off the grid of the other slices",
        )
    n = int(np.abs(gaps - steps * np.median(gaps / steps)).argmax())
    return GeometryProblem(
        "uneven-spacing",
        f"{gaps[n]:.3f} mm between {both_names(ordered[n], ordered[n + 1])}; the usual spacing is {usual:.3f} mm",
    )


def _turned(lattice: Lattice, off: Points, shape: tuple[int, int]) -> GeometryProblem | None:
    """Find slices whose own orientation or pixel spacing puts their far corner elsewhere."""
    height, width = shape[0] - 1, shape[1] - 1
    own = np.array([(*s.row, *s.column, *s.spacing) for s in lattice.slices])
    row, column, spacing = own[:, 0:3], own[:, 3:6], own[:, 6:8]
    across = row * (spacing[:, 1:] * width)
    down = column * (spacing[:, :1] * height)
    far = off + across + down
    far -= lattice.directions[:, 2] * (lattice.spacing[1] * width)
    far -= lattice.directions[:, 1] * (lattice.spacing[0] * height)
    turned = np.linalg.norm(far, axis=1) > CORNER_TOLERANCE_MM
    if not turned.any():
        return None
    names = [s.name for s, is_turned in zip(lattice.slices, turned, strict=True) if is_turned]
    return GeometryProblem(
        "mixed-orientations",
        f"{join_names(names)}: image orientation differs from the other slices",
    )


def _missing(ordered: Sequence[Slice], positions: Points, steps: Array) -> GeometryProblem | None:
    if steps.max() <= 1:
        return None
    total = int(steps.sum()) + 1
    numbers = np.concatenate(([1], 1 + np.cumsum(steps))).astype(int)
    points: list[Point] = []
    names = []
    for n in map(int, np.flatnonzero(steps > 1)):
        for part in range(1, int(steps[n])):
            x, y, z = positions[n] + (positions[n + 1] - positions[n]) * part / steps[n]
            points.append((float(x), float(y), float(z)))
            names.append(
                f"slice {numbers[n] + part} at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm,"
                f" between {both_names(ordered[n], ordered[n + 1])}"
            )
    return GeometryProblem(
        "missing-slices",
        f"{len(points)} of {total} slices missing: {join_names(names, '; ')}",
        tuple(points),
    )


def _sheared(step: Points, normal: Points) -> GeometryProblem | None:
    """Find slices that move sideways: gantry tilt, or two stacks."""
    along = float(step @ normal)
    sideways = float(np.linalg.norm(step - along * normal))
    if sideways <= SHEAR_TOLERANCE * along:
        return None
    return GeometryProblem(
        "shear",
        f"slices shift sideways by {sideways:.3f} mm per {along:.3f} mm: gantry tilt or mixed stacks",
    )
