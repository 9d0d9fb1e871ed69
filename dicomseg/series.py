"""Instances to one regular grid in patient space, or the gaps that prevent it; pure.

Public readers are lenient: SimpleITK stacks another orientation, another pixel spacing, doubled and
missing slices without an error, so every one of them is looked for here by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from dicomseg.instance import Instance
from dicomseg.volume import Points

Point = tuple[float, float, float]
Orientation = Literal["axial", "sagittal", "coronal", "oblique"]

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

SQUARE_TOLERANCE: Final = 1e-3
"""How far the two directions of an image may be from unit length and from a right angle."""

STRAIGHT_MM: Final = 0.02
"""An in-plane drift over the whole stack below this is rounding: the slice axis is the normal then."""

ECHO_TOLERANCE_MS: Final = 0.5
"""Echo times that differ by more belong to two echoes."""

DIRECT_COSINE: Final = 0.8
"""A normal within 37° of a patient axis names the orientation; oblique lumbar slices stay axial."""

MIN_SLICES: Final = 12
MIN_EXTENT_MM: Final = 10.0
"""Smallest volume in which a disc can be found: about one disc height."""

FARTHEST_MM: Final = 10_000.0
"""No image plane lies farther from the scanner's centre, and no spacing is larger: a hostile header."""

MOST_SLICES: Final = 10_000
"""A gap that would need more slices than this is no gap of missing slices."""

_NAMED: Final = 8
"""Slices named one by one in a message before it says how many more."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid of slices.

    instances: ordered ascending along the normal row × column; one element for a multi-frame object.
    affine: (4, 4), index (i = slice, j = row, k = column) to LPS mm of the voxel centre.
    shape: voxels along (i, j, k). frame_order: for a multi-frame object the frame index (from 0) of
    every slice, () for classic objects.
    """

    instances: tuple[Instance, ...]
    affine: Points
    shape: tuple[int, int, int]
    orientation: Orientation
    frame_of_reference_uid: str
    frame_order: tuple[int, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (slice, row, column) in mm."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Why there is no regular grid: a stable code, a sentence with numbers, where slices are missing."""

    code: str
    text: str
    missing_lps: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class _Slice:
    """One slice: an instance, or a frame of one. name: as in messages; index: where it was given."""

    name: str
    index: int
    position: Point
    row: Point
    column: Point
    spacing: tuple[float, float]
    echo: tuple[float | None, int | None]


def assemble(instances: Sequence[Instance]) -> Grid | Gaps:
    """One regular grid of all slices in patient space, or what prevents it."""
    given = sorted(instances, key=lambda i: (i.instance_number or 0, i.sop_instance_uid))
    mixed = _mixed(given)
    if mixed is not None:
        return mixed
    slices = _slices(given)
    if isinstance(slices, Gaps):
        return slices
    mixed = _mixed_planes(slices)
    if mixed is not None:
        return mixed
    row, column = np.array(slices[0].row), np.array(slices[0].column)
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda s: float(np.dot(s.position, normal)))
    flaw = _doubled(ordered, normal) or _uneven(ordered, normal) or _sheared(ordered, normal)
    return flaw if flaw is not None else _grid(given, ordered, normal)


def too_small(grid: Grid) -> str | None:
    """Say why the grid holds too little to find a disc in, None when it is large enough."""
    count = grid.shape[0]
    extent_mm = count * grid.spacing_mm[0]
    if count < MIN_SLICES:
        return f"{count} slices; at least {MIN_SLICES} are needed"
    if extent_mm < MIN_EXTENT_MM:
        return f"{extent_mm:.1f} mm along the slices; at least {MIN_EXTENT_MM:g} mm are needed"
    return None


def expected_count(instances: Sequence[Instance]) -> int | None:
    """Return how many slices the headers announce, None when they do not tell or disagree.

    A multi-frame object holds all its frames; classic objects may carry Images in Acquisition. To be
    compared with `Grid.shape[0]`.
    """
    if len(instances) == 1 and instances[0].frames > 1:
        return instances[0].frames
    told = {i.images_in_acquisition for i in instances}
    count = told.pop() if len(told) == 1 else None
    return count if count is not None and count > 0 else None


def same_geometry(a: Grid, b: Grid, tolerance_mm: float = 0.1) -> bool:
    """Whether two series are twins: the same voxels in the same frame of reference."""
    if a.shape != b.shape or a.frame_of_reference_uid != b.frame_of_reference_uid:
        return False
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in a.shape), 1]], dtype=float)
    return bool(np.all(np.abs(corners @ (a.affine - b.affine).T) <= tolerance_mm))


def _name(instance: Instance) -> str:
    number = instance.instance_number
    return f"instance {number}" if number is not None else f"object {instance.sop_instance_uid}"


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _odd_ones(
    given: Sequence[Any], value: Callable[[Any], Hashable], name: Callable[[Any], str]
) -> tuple[Hashable, str] | None:
    """Return (the commonest value, names of those that differ), None when all agree."""
    values = [value(item) for item in given]
    common = max(sorted(set(values), key=str), key=values.count)
    odd = [name(item) for item, v in zip(given, values, strict=True) if v != common]
    return (common, _listing(odd)) if odd else None


def _mixed(given: Sequence[Instance]) -> Gaps | None:
    if not given:
        return Gaps("no-instances", "no instance has arrived")
    if len(given) > 1 and any(i.frames > 1 for i in given):
        return Gaps(
            "several-volumes",
            f"{len(given)} objects, some with many frames; one volume is expected",
        )
    checks: tuple[tuple[str, str, Callable[[Instance], Hashable]], ...] = (
        ("mixed-series", "series", lambda i: i.series_uid),
        ("mixed-frames-of-reference", "frame of reference", lambda i: i.frame_of_reference_uid),
        ("mixed-sizes", "rows × columns", lambda i: (i.rows, i.columns)),
    )
    for code, what, value in checks:
        odd = _odd_ones(given, value, _name)
        if odd is not None:
            return Gaps(code, f"{odd[1]}: other {what} than the rest ({odd[0]})")
    return None


def _slices(given: Sequence[Instance]) -> list[_Slice] | Gaps:
    first = given[0]
    if len(given) == 1 and first.frames > 1:
        if len(first.frame_positions_lps) != first.frames:
            return Gaps(
                "no-geometry",
                f"{_name(first)}: {first.frames} frames, {len(first.frame_positions_lps)} positions",
            )
        found = [_frame(first, n) for n in range(first.frames)]
    else:
        found = [_slice(instance, n) for n, instance in enumerate(given)]
    bare = [_name(given[min(n, len(given) - 1)]) for n, s in enumerate(found) if s is None]
    if bare or not (first.rows and first.columns):
        return Gaps(
            "no-geometry",
            f"{_listing(bare or [_name(first)])}: position, orientation, pixel spacing or size is absent or no image plane",
        )
    return [s for s in found if s is not None]


def _slice(instance: Instance, index: int) -> _Slice | None:
    position, row, column = instance.position_lps, instance.row_lps, instance.column_lps
    if position is None or row is None or column is None or instance.spacing_mm is None:
        return None
    if not _is_plane(row, column) or not _is_near(position, instance.spacing_mm):
        return None
    echo = (instance.echo_time_ms, instance.echo_number)
    return _Slice(_name(instance), index, position, row, column, instance.spacing_mm, echo)


def _frame(instance: Instance, n: int) -> _Slice | None:
    orientations, spacings = instance.frame_orientations_lps, instance.frame_spacings_mm
    row, column = orientations[n] if orientations else (instance.row_lps, instance.column_lps)
    spacing = spacings[n] if spacings else instance.spacing_mm
    position = instance.frame_positions_lps[n]
    if row is None or column is None or spacing is None:
        return None
    if not _is_plane(row, column) or not _is_near(position, spacing):
        return None
    echoes = instance.frame_echo_times_ms
    echo = (echoes[n] if echoes else instance.echo_time_ms, None)
    return _Slice(f"frame {n + 1}", n, position, row, column, spacing, echo)


def _is_plane(row: Point, column: Point) -> bool:
    if max(abs(v) for v in (*row, *column)) > 1 + SQUARE_TOLERANCE:
        return False
    gram = np.array([row, column]) @ np.array([row, column]).T
    return bool(np.all(np.abs(gram - np.eye(2)) <= SQUARE_TOLERANCE))


def _is_near(position: Point, spacing: tuple[float, float]) -> bool:
    return max(abs(v) for v in (*position, *spacing)) <= FARTHEST_MM


def _mixed_planes(slices: Sequence[_Slice]) -> Gaps | None:
    directions = np.array([(*s.row, *s.column) for s in slices])
    middle = np.median(directions, axis=0)
    odd = np.any(np.abs(directions - middle) > ORIENTATION_TOLERANCE, axis=1)
    if odd.any():
        names = [s.name for s, other in zip(slices, odd, strict=True) if other]
        return Gaps(
            "mixed-orientations", f"{_listing(names)}: other image orientation than the rest"
        )
    spacing = np.array([s.spacing for s in slices])
    middle = np.median(spacing, axis=0)
    odd = np.any(np.abs(spacing - middle) > PIXEL_SPACING_TOLERANCE * middle, axis=1)
    if odd.any():
        names = [s.name for s, other in zip(slices, odd, strict=True) if other]
        usual = f"{middle[0]:g} × {middle[1]:g} mm"
        return Gaps("mixed-spacing", f"{_listing(names)}: other pixel spacing than {usual}")
    return None


def _doubled(ordered: Sequence[_Slice], normal: Points) -> Gaps | None:
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
        return Gaps("two-echoes", f"{_listing(names)}: one position with two echo numbers")
    return Gaps("doubled-positions", f"{_listing(names)}: at one position")


def _uneven(ordered: Sequence[_Slice], normal: Points) -> Gaps | None:
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


def _missing(ordered: Sequence[_Slice], positions: Points, steps: Any) -> Gaps:
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
    return Gaps("missing-slices", f"{count} missing of {total}: {_listing(names)}", tuple(points))


def _sheared(ordered: Sequence[_Slice], normal: Points) -> Gaps | None:
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


def _grid(given: Sequence[Instance], ordered: Sequence[_Slice], normal: Points) -> Grid:
    first = given[0]
    row = np.array(ordered[0].row) / np.linalg.norm(ordered[0].row)
    normal = normal / np.linalg.norm(normal)
    column = np.cross(normal, row)
    affine = np.eye(4)
    affine[:3, 0] = _step(ordered, normal, first.slice_thickness_mm)
    # PS3.3 C.7.6.2.1.1: the first triplet runs along a row, so it goes with the column index, and
    # the second value of Pixel Spacing is the distance between columns.
    affine[:3, 1] = column * ordered[0].spacing[0]
    affine[:3, 2] = row * ordered[0].spacing[1]
    affine[:3, 3] = ordered[0].position
    multiframe = first.frames > 1
    order = tuple(s.index for s in ordered)
    return Grid(
        instances=(first,) if multiframe else tuple(given[n] for n in order),
        affine=affine,
        shape=(len(ordered), first.rows or 0, first.columns or 0),
        orientation=_orientation(normal),
        frame_of_reference_uid=first.frame_of_reference_uid,
        frame_order=order if multiframe else (),
    )


def _step(ordered: Sequence[_Slice], normal: Points, thickness_mm: float | None) -> Points:
    """LPS vector from slice to slice; a single slice is as deep as its thickness, else 1 mm."""
    count = len(ordered) - 1
    if count == 0:
        return normal * (thickness_mm if thickness_mm and thickness_mm > 0 else 1.0)
    way = np.array(ordered[-1].position) - np.array(ordered[0].position)
    along: Points = normal * float(way @ normal)
    straight = bool(np.linalg.norm(way - along) < STRAIGHT_MM)
    return (along if straight else way) / count


def _orientation(normal: Points) -> Orientation:
    axis = int(np.argmax(np.abs(normal)))
    if abs(normal[axis]) < DIRECT_COSINE:
        return "oblique"
    names: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
    return names[axis]
