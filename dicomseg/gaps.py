"""What keeps slices from being one regular grid, found one flaw at a time and named with numbers.

Public readers are lenient: SimpleITK stacks another orientation, another pixel spacing, doubled and
missing slices without an error, so every one of them is looked for here by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dicomseg.volume import Points

Point = tuple[float, float, float]

SPACING_TOLERANCE: Final = 0.01
"""Largest deviation of one gap from the slice spacing, relative: the limit highdicom has too."""

GAP_TOLERANCE_MM: Final = 0.02
"""The same in mm, whichever is smaller: it keeps thick slices as exact as thin ones."""

DRIFT_TOLERANCE_MM: Final = 0.1
"""Largest distance of any slice from the regular grid: an eighth of the paper's slice spacing, so
that many small deviations of one sign do not add up to a displaced label."""

DOUBLED_MM: Final = 0.01
"""Two slices nearer than this are one position twice; no scanner makes slices this thin."""

ORIENTATION_TOLERANCE: Final = 1e-4
"""Largest difference of any direction cosine between slices: exports round to 5 or more digits; a
slice of another stack differs by far more."""

PIXEL_SPACING_TOLERANCE: Final = 1e-4
"""Relative difference of pixel spacing between slices: below 0.03 mm over 320 pixels of 0.8 mm."""

SHEAR_TOLERANCE: Final = 0.05
"""Largest in-plane shift from slice to slice, in slice spacings; more is a gantry tilt or a mix."""

ECHO_TOLERANCE_MS: Final = 0.5
"""Echo times that differ by more belong to two echoes."""

MOST_SLICES: Final = 10_000
"""A gap that would need more slices than this is no gap of missing slices."""

_NAMED: Final = 8
"""Slices named one by one in a message before it says how many more."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Why there is no regular grid: a stable code, a sentence with numbers, where slices are missing."""

    code: str
    text: str
    missing_lps: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice: an instance, or a frame of one. name: as in messages; index: where it was given."""

    name: str
    index: int
    position: Point
    row: Point
    column: Point
    spacing: tuple[float, float]
    echo: tuple[float | None, int | None]


def listing(names: Sequence[str]) -> str:
    """Join the first names and say how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def mixed_planes(slices: Sequence[Slice]) -> Gaps | None:
    """Find slices of another orientation or pixel spacing than most."""
    directions = np.array([(*s.row, *s.column) for s in slices])
    middle = np.median(directions, axis=0)
    odd = np.any(np.abs(directions - middle) > ORIENTATION_TOLERANCE, axis=1)
    if odd.any():
        names = [s.name for s, other in zip(slices, odd, strict=True) if other]
        return Gaps(
            "mixed-orientations", f"{listing(names)}: other image orientation than the rest"
        )
    spacing = np.array([s.spacing for s in slices])
    middle = np.median(spacing, axis=0)
    odd = np.any(np.abs(spacing - middle) > PIXEL_SPACING_TOLERANCE * middle, axis=1)
    if odd.any():
        names = [s.name for s, other in zip(slices, odd, strict=True) if other]
        usual = f"{middle[0]:g} × {middle[1]:g} mm"
        return Gaps("mixed-spacing", f"{listing(names)}: other pixel spacing than {usual}")
    return None


def doubled(ordered: Sequence[Slice], normal: Points) -> Gaps | None:
    """Find two echoes, or one position twice; ordered: ascending along the unit normal."""
    times = [s.echo[0] for s in ordered if s.echo[0] is not None]
    if times and max(times) - min(times) > ECHO_TOLERANCE_MS:
        return Gaps(
            "two-echoes", f"echo times from {min(times):g} to {max(times):g} ms in one series"
        )
    along = np.array([s.position for s in ordered]) @ normal
    pairs = [int(n) for n in np.flatnonzero(np.diff(along) < DOUBLED_MM)]
    if not pairs:
        return None
    names = [f"{ordered[n].name} and {ordered[n + 1].name}" for n in pairs]
    if any(ordered[n].echo[1] != ordered[n + 1].echo[1] for n in pairs):
        return Gaps("two-echoes", f"{listing(names)}: one position with two echo numbers")
    return Gaps("doubled-positions", f"{listing(names)}: at one position")


def uneven(ordered: Sequence[Slice], normal: Points) -> Gaps | None:
    """Find gaps that are no multiple of the spacing, else slices missing in between."""
    if len(ordered) < 2:
        return None
    positions = np.array([s.position for s in ordered])
    along = positions @ normal
    gaps = np.diff(along)
    steps = np.maximum(np.round(gaps / gaps.min()), 1)
    spacing = float(gaps.sum() / steps.sum())
    allowed = min(SPACING_TOLERANCE * spacing, GAP_TOLERANCE_MM)
    off = np.abs(gaps - steps * spacing)
    grid = along[0] + spacing * np.concatenate(([0], np.cumsum(steps)))
    regular = steps.sum() <= MOST_SLICES and off.max() <= allowed
    if not regular or np.abs(along - grid).max() > DRIFT_TOLERANCE_MM:
        n = int(off.argmax())
        usual = float(np.median(gaps))
        return Gaps(
            "uneven-spacing",
            f"{gaps[n]:.3f} mm between {ordered[n].name} and {ordered[n + 1].name}, {usual:.3f} mm is usual",
        )
    return _missing(ordered, positions, steps.astype(int)) if steps.max() > 1 else None


def _missing(ordered: Sequence[Slice], positions: Points, steps: Any) -> Gaps:
    total = int(steps.sum()) + 1
    numbers = np.concatenate(([1], 1 + np.cumsum(steps)))
    points: list[Point] = []
    names = []
    for n in map(int, np.flatnonzero(steps > 1)):
        for part in range(1, int(steps[n])):
            x, y, z = positions[n] + (positions[n + 1] - positions[n]) * part / steps[n]
            points.append((float(x), float(y), float(z)))
            names.append(
                f"slice {numbers[n] + part} at ({x:.1f}, {y:.1f}, {z:.1f}) mm"
                f" between {ordered[n].name} and {ordered[n + 1].name}"
            )
    count = "1 slice is" if len(points) == 1 else f"{len(points)} slices are"
    return Gaps("missing-slices", f"{count} missing of {total}: {listing(names)}", tuple(points))


def sheared(ordered: Sequence[Slice], normal: Points) -> Gaps | None:
    """Find slices that move sideways: gantry tilt, or two stacks."""
    if len(ordered) < 2:
        return None
    steps = np.diff(np.array([s.position for s in ordered]), axis=0)
    along = steps @ normal
    shear = np.linalg.norm(steps - along[:, None] * normal, axis=1) / along
    n = int(shear.argmax())
    if shear[n] <= SHEAR_TOLERANCE:
        return None
    return Gaps(
        "shear",
        f"slices move sideways by {shear[n] * along[n]:.3f} mm per {along[n]:.3f} mm"
        f" between {ordered[n].name} and {ordered[n + 1].name}",
    )
