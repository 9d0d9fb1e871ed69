"""Rasterise triangles: which one is nearest to the viewer in every pixel, and how deep it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.volume import Array

CHUNK: Final = 3_000_000
"""Fragments that are worked on at the same time: bounds the memory, never the result."""


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Runs of pixels in a row, each covered by one triangle."""

    triangle: Array
    row: Array
    first: Array
    count: Array


def rasterise(triangles: Array, shape: tuple[int, int], chunk: int = CHUNK) -> tuple[Array, Array]:
    """Rasterise triangles that all face the viewer.

    triangles: (n, 3, 3): x to the right and y down in pixels, depth towards the viewer. shape: (rows, columns).
    Returns depth float32 (rows, columns), -inf where nothing is, and the number of the triangle, -1 where nothing is.
    A pixel belongs to a triangle that holds its centre; every triangle covers one run of pixels in each row.
    """
    rows, columns = shape
    depth = np.full(rows * columns, -np.inf, np.float32)
    nearest = np.full(rows * columns, -1, np.int32)
    slope_x, slope_y, constant = _depth_planes(triangles)
    spans = _spans(triangles, shape)
    number = spans.triangle
    middle = spans.first + 0.5
    first_depth = constant[number] + slope_y[number] * (spans.row + 0.5) + slope_x[number] * middle
    first_depth, slope = first_depth.astype(np.float32), slope_x.astype(np.float32)[number]
    first_pixel = (spans.row * columns + spans.first).astype(np.int32)
    ends = np.cumsum(spans.count)
    start = 0
    while start < len(ends):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + chunk)))
        count = spans.count[start:stop]
        along = _counting(count)
        pixel = np.repeat(first_pixel[start:stop], count) + along
        here = np.repeat(slope[start:stop], count) * along.astype(np.float32)
        here += np.repeat(first_depth[start:stop], count)
        np.maximum.at(depth, pixel, here)
        won = here >= depth[pixel]
        nearest[pixel[won]] = np.repeat(number[start:stop], count)[won]
        start = stop
    return depth.reshape(shape), nearest.reshape(shape)


def _counting(count: Array) -> Array:
    """Number the members of runs of these lengths: 0, 1, … in each."""
    start = (np.cumsum(count) - count).astype(np.int32)
    numbers: Array = np.arange(int(count.sum()), dtype=np.int32) - np.repeat(start, count)
    return numbers


def _depth_planes(triangles: Array) -> tuple[Array, Array, Array]:
    """Depth of every triangle as slope along x, slope along y, and constant."""
    x, y, z = (triangles[:, :, n].astype(np.float64) for n in range(3))
    twice_area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (
        y[:, 1] - y[:, 0]
    )
    first, second = z[:, 1] - z[:, 0], z[:, 2] - z[:, 0]
    along_x = (first * (y[:, 2] - y[:, 0]) - second * (y[:, 1] - y[:, 0])) / twice_area
    along_y = (second * (x[:, 1] - x[:, 0]) - first * (x[:, 2] - x[:, 0])) / twice_area
    return along_x, along_y, z[:, 0] - along_x * x[:, 0] - along_y * y[:, 0]


def _spans(triangles: Array, shape: tuple[int, int]) -> _Spans:
    """Cut every triangle into its runs of pixels."""
    rows, columns = shape
    x, y = (triangles[:, :, n].astype(np.float64) for n in range(2))
    low = np.maximum(np.ceil(y.min(axis=1) - 0.5), 0).astype(np.int64)
    high = np.minimum(np.floor(y.max(axis=1) - 0.5), rows - 1).astype(np.int64)
    count = np.maximum(high - low + 1, 0)
    triangle = np.repeat(np.arange(len(triangles), dtype=np.int32), count)
    row = low[triangle] + _counting(count)
    middle = row + 0.5
    left, right = np.zeros(len(triangle)), np.full(len(triangle), float(columns))
    for i, j in ((0, 1), (1, 2), (2, 0)):
        rise = y[triangle, j] - y[triangle, i]
        is_level = np.abs(rise) < 1e-12
        run = x[triangle, j] - x[triangle, i]
        at = x[triangle, i] + (middle - y[triangle, i]) * run / np.where(is_level, 1.0, rise)
        # y runs down, so the edges of a triangle that faces the viewer rise on its left side
        np.minimum(right, at, out=right, where=~is_level & (rise < 0))
        np.maximum(left, at, out=left, where=~is_level & (rise > 0))
    first = np.maximum(np.ceil(left - 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(right - 0.5), columns - 1).astype(np.int64)
    length = np.maximum(last - first + 1, 0)
    used = np.flatnonzero(length)
    return _Spans(triangle[used], row[used], first[used], length[used])
