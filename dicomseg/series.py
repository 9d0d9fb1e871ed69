"""Instances to one regular grid in patient space, or the gaps that prevent it; pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from dicomseg.gaps import Gaps, Point, Slice, doubled, listing, mixed_planes, sheared, uneven
from dicomseg.instance import Instance
from dicomseg.volume import Points

__all__ = [
    "Gaps", "Grid", "assemble", "count_differs", "expected_count", "same_geometry", "too_small",
]  # fmt: skip

Orientation = Literal["axial", "sagittal", "coronal", "oblique"]

SQUARE_TOLERANCE: Final = 1e-3
"""How far the two directions of an image may be from unit length and from a right angle."""

STRAIGHT_MM: Final = 0.02
"""An in-plane drift over the whole stack below this is rounding: the slice axis is the normal then."""

DIRECT_COSINE: Final = 0.8
"""A normal within 37° of a patient axis names the orientation; oblique lumbar slices stay axial."""

MIN_SLICES: Final = 12
MIN_EXTENT_MM: Final = 10.0
"""Smallest volume in which a disc can be found: about one disc height."""

FARTHEST_MM: Final = 10_000.0
"""No image plane lies farther from the scanner's centre, and no spacing is larger: a hostile header."""


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


def assemble(instances: Sequence[Instance]) -> Grid | Gaps:
    """One regular grid of all slices in patient space, or what prevents it."""
    given = sorted(instances, key=lambda i: (i.instance_number or 0, i.sop_instance_uid))
    mixed = _mixed(given)
    if mixed is not None:
        return mixed
    slices = _slices(given)
    if isinstance(slices, Gaps):
        return slices
    mixed = mixed_planes(slices)
    if mixed is not None:
        return mixed
    row, column = np.array(slices[0].row), np.array(slices[0].column)
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda s: float(np.dot(s.position, normal)))
    flaw = doubled(ordered, normal) or uneven(ordered, normal) or sheared(ordered, normal)
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


def count_differs(announced: int, have: int) -> str:
    """Sentence about a regular series whose headers announce another number of slices."""
    return f"{have} slices came, the headers announce {announced}"


def same_geometry(a: Grid, b: Grid, tolerance_mm: float = 0.1) -> bool:
    """Whether two series are twins: the same voxels in the same frame of reference."""
    if a.shape != b.shape or a.frame_of_reference_uid != b.frame_of_reference_uid:
        return False
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in a.shape), 1]], dtype=float)
    return bool(np.all(np.abs(corners @ (a.affine - b.affine).T) <= tolerance_mm))


def _name(instance: Instance) -> str:
    number = instance.instance_number
    return f"instance {number}" if number is not None else f"object {instance.sop_instance_uid}"


def _odd_ones(
    given: Sequence[Any], value: Callable[[Any], Hashable], name: Callable[[Any], str]
) -> tuple[Hashable, str] | None:
    """Return (the commonest value, names of those that differ), None when all agree."""
    values = [value(item) for item in given]
    common = max(sorted(set(values), key=str), key=values.count)
    odd = [name(item) for item, v in zip(given, values, strict=True) if v != common]
    return (common, listing(odd)) if odd else None


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


def _slices(given: Sequence[Instance]) -> list[Slice] | Gaps:
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
            f"{listing(bare or [_name(first)])}: position, orientation, pixel spacing or size is absent or no image plane",
        )
    return [s for s in found if s is not None]


def _slice(instance: Instance, index: int) -> Slice | None:
    position, row, column = instance.position_lps, instance.row_lps, instance.column_lps
    if position is None or row is None or column is None or instance.spacing_mm is None:
        return None
    if not _is_plane(row, column) or not _is_near(position, instance.spacing_mm):
        return None
    echo = (instance.echo_time_ms, instance.echo_number)
    return Slice(_name(instance), index, position, row, column, instance.spacing_mm, echo)


def _frame(instance: Instance, n: int) -> Slice | None:
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
    return Slice(f"frame {n + 1}", n, position, row, column, spacing, echo)


def _is_plane(row: Point, column: Point) -> bool:
    if max(abs(v) for v in (*row, *column)) > 1 + SQUARE_TOLERANCE:
        return False
    gram = np.array([row, column]) @ np.array([row, column]).T
    return bool(np.all(np.abs(gram - np.eye(2)) <= SQUARE_TOLERANCE))


def _is_near(position: Point, spacing: tuple[float, float]) -> bool:
    return max(abs(v) for v in (*position, *spacing)) <= FARTHEST_MM


def _grid(given: Sequence[Instance], ordered: Sequence[Slice], normal: Points) -> Grid:
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


def _step(ordered: Sequence[Slice], normal: Points, thickness_mm: float | None) -> Points:
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
