"""Triangles in pixels, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.draw.raster import rasterise

SIZE = 48


def facing(count: int, seed: int) -> np.ndarray:
    """Random triangles, some partly outside the picture, all turned towards the viewer."""
    triangles = np.random.default_rng(seed).uniform(-5, SIZE + 5, (count, 3, 3))
    x, y = triangles[:, :, 0], triangles[:, :, 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    triangles[area > 0] = triangles[area > 0][:, [0, 2, 1]]
    return triangles


def brute_force(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    depth, nearest = np.full((SIZE, SIZE), -np.inf), np.full((SIZE, SIZE), -1)
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    for n, (a, b, c) in enumerate(triangles):
        det = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        u = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / det
        v = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / det
        z = a[2] * (1 - u - v) + b[2] * u + c[2] * v
        won = (u >= 0) & (v >= 0) & (u + v <= 1) & (z > depth)
        depth[won], nearest[won] = z[won], n
    return depth, nearest


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_has_the_nearest_triangle(seed: int) -> None:
    triangles = facing(150, seed)
    depth, nearest = rasterise(triangles, (SIZE, SIZE))
    true_depth, true_nearest = brute_force(triangles)
    assert (true_nearest >= 0).mean() > 0.9
    assert (nearest == true_nearest).mean() > 0.999
    same = np.isfinite(depth) & np.isfinite(true_depth)
    # a float32 depth of a thin triangle
    assert np.abs(depth[same] - true_depth[same]).max() < 0.01


def test_chunks_do_not_change_the_picture() -> None:
    triangles = facing(80, 5)
    depth, nearest = rasterise(triangles, (SIZE, SIZE))
    small_depth, small_nearest = rasterise(triangles, (SIZE, SIZE), chunk=100)
    assert np.array_equal(nearest, small_nearest)
    assert np.array_equal(depth, small_depth)


def test_a_picture_may_be_wider_than_high() -> None:
    square = np.array([[[2, 2, 1], [2, 6, 1], [6, 2, 1]], [[6, 2, 1], [2, 6, 1], [6, 6, 1]]], float)
    _, nearest = rasterise(square, (10, 30))
    rows, columns = np.nonzero(nearest >= 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 2, 5)
    assert len(rows) == 16
