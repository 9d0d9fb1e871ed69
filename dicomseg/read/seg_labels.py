"""The labels that a SEG of any writer draws on the grid of a series, or why they cannot be taken as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.read import attributes
from dicomseg.read.seg_errors import SegRefused
from dicomseg.read.seg_frames import SegFrame, iter_frames, read_head
from dicomseg.read.segments import Part, numbers_of, part_of
from dicomseg.read.series import SAME_GRID_MM, Grid
from dicomseg.structures import BY_ID, BY_VALUE, SEGMENTS
from dicomseg.volume import Array

MOST_SEGMENTS: Final = 255
"""A label map of bytes holds no more; ours has ten."""
_MOST_NAMED: Final = 6
"""Segments or slices that a sentence names."""


def structure_values(numbers: Array) -> Array:
    """Return structure values of an array of numbers of `SEGMENTS`, uint8; 0 stays 0."""
    table = np.array([0, *(s.structure.value for s in SEGMENTS)], np.uint8)
    values: Array = table[numbers]
    return values


@dataclass(frozen=True, slots=True, eq=False)
class SegLabels:
    """numbers: those of `SEGMENTS` on the grid (i, j, k), uint8. parts: what each segment is, by its own number.

    A segment that holds both sides is divided at the middle of its voxels.
    """

    numbers: Array
    parts: Mapping[int, Part]

    @property
    def labels(self) -> Array:
        """Structure values on the grid, uint8."""
        return structure_values(self.numbers)

    @property
    def described(self) -> frozenset[int]:
        """Numbers of `SEGMENTS` that it describes, with or without voxels."""
        return frozenset(n for part in self.parts.values() for n in numbers_of(part))


def read_labels(ds: Dataset, grid: Grid) -> SegLabels:
    """Read every frame into the grid; frames may cover a part of it, in any order and with turned axes.

    ds: with its pixel data. Raises `SegRefused`, and whatever pydicom raises at damaged pixels.
    """
    head, parts = read_head(ds), read_parts(ds)
    canvas = _Canvas(grid, parts)
    for frame in iter_frames(ds, head):
        canvas.add(frame)
    return SegLabels(canvas.finished(), parts)


def read_parts(ds: Dataset) -> dict[int, Part]:
    """Return what each segment is, by its number.

    Raises:
        SegRefused: no segments, or some that are none of ours. Their labels are not quoted: a person typed them.
    """
    items = attributes.items(ds, "SegmentSequence")
    if not items or len(items) > MOST_SEGMENTS:
        raise SegRefused("no-segments", f"it describes {len(items)} segments; export it again")
    parts: dict[int, Part] = {}
    unknown: list[str] = []
    for item in items:
        number = attributes.integer(item, "SegmentNumber")
        if number == 0:  # a label map's background
            continue
        part = part_of(item)
        if number is None or number in parts or not 0 < number < 1 << 16:
            raise SegRefused("damaged-frames", "two of its segments have one number, or one has none; export it again")  # fmt: skip
        if part is None:
            unknown.append(str(number))
        else:
            parts[number] = part
    if unknown:
        raise SegRefused(
            "unknown-segments",
            f"segments {_listed(unknown)} are none of the eight structures by code or name; remove or rename them",
        )
    return parts


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


_BOTH: Final = len(SEGMENTS)
"""Added to the value of a paired structure whose sides are not separated yet."""
_VALUES: Final = np.array(
    [0, *(s.structure.value for s in SEGMENTS), *range(1, len(BY_ID) + 1)], np.uint8
)
"""Structure value of each number on the canvas."""


class _Canvas:
    """The labels while frames come."""

    def __init__(self, grid: Grid, parts: Mapping[int, Part]) -> None:
        self._grid, self._parts = grid, parts
        self._inverse = np.linalg.inv(grid.affine)
        self._numbers = np.zeros(grid.shape, np.uint8)
        self._overlaps: dict[int, set[str]] = {}

    def add(self, frame: SegFrame) -> None:
        """Put one frame. Raises `SegRefused`."""
        start, steps = self._place(frame)
        for number in map(int, np.flatnonzero(np.bincount(frame.values.ravel())[1:]) + 1):
            part = self._parts.get(number)
            if part is None:
                raise SegRefused("damaged-frames", f"a frame holds segment {number}, which is not described; export it again")  # fmt: skip
            at = np.argwhere(frame.values == number) @ steps.T + start
            if (at < 0).any() or (at >= self._grid.shape).any():
                raise SegRefused("other-grid", "it reaches outside the series that it names; draw on the images of the result")  # fmt: skip
            self._paint(at, part)

    def _paint(self, at: Array, part: Part) -> None:
        index, value = tuple(at.T), BY_ID[part.structure].value
        before = _VALUES[self._numbers[index]]
        other = (before != 0) & (before != value)
        for n, earlier in {(int(i), int(v)) for i, v in zip(at[other, 0], before[other], strict=True)}:  # fmt: skip
            pair = sorted((BY_VALUE[earlier].id, BY_VALUE[value].id))
            self._overlaps.setdefault(n, set()).add(" and ".join(pair))
        numbers = numbers_of(part)
        self._numbers[index] = numbers[0] if len(numbers) == 1 else _BOTH + value

    def _place(self, frame: SegFrame) -> tuple[Array, Array]:
        """Return the index (3,) of the frame's first voxel and its steps (3, 2) along rows and columns.

        Every corner has to lie on a voxel centre of the grid.
        """
        exact = self._inverse[:3, :3] @ frame.affine
        steps = np.rint(exact[:, :2]).astype(np.intp)
        start = np.rint(exact[:, 2] + self._inverse[:3, 3]).astype(np.intp)
        ends = np.array(frame.values.shape) - 1
        corners = np.array([(r, c) for r in (0, ends[0]) for c in (0, ends[1])], dtype=float)
        meant = (corners @ steps.T + start) @ self._grid.affine[:3, :3].T + self._grid.affine[:3, 3]
        true = corners @ frame.affine[:, :2].T + frame.affine[:, 2]
        apart_mm = float(np.linalg.norm(meant - true, axis=1).max())
        one_axis = (np.abs(steps).sum(axis=0) == 1).all() and not (steps[:, 0] * steps[:, 1]).any()
        if not apart_mm <= SAME_GRID_MM or not one_axis:
            raise SegRefused(
                "other-grid",
                f"its frames lie up to {min(apart_mm, 999.0):.1f} mm off the voxels of the series; export it on the grid of the images",
            )
        return start, steps

    def finished(self) -> Array:
        """Return the numbers of `SEGMENTS`. Raises `SegRefused` where segments overlap."""
        if self._overlaps:
            slices = [f"{n + 1} ({', '.join(sorted(p))})" for n, p in sorted(self._overlaps.items())]  # fmt: skip
            raise SegRefused(
                "overlapping-segments", f"segments overlap in slices {_listed(slices)}; let every voxel belong to one"
            )  # fmt: skip
        for structure in BY_ID.values():
            both = np.argwhere(self._numbers == _BOTH + structure.value)
            if len(both):
                left, right = numbers_of(Part(structure.id))
                x = both @ self._grid.affine[0, :3]
                self._numbers[tuple(both.T)] = np.where(x > x.mean(), left, right)
        return self._numbers
