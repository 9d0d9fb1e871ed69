"""A tube on the front of the column against its closed form on walls that are formulas themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.phantom.draped import Draped, Wall, front_of
from training.phantom.scene import Anatomy, build_anatomy

HEIGHTS = np.arange(-40.0, 41.0, 8.0)


def wall_of(y_of_x: np.ndarray) -> Wall:
    """A wall that is the same at every height; 61 values at x −60…60 mm."""
    return Wall(np.tile(y_of_x, (40, 1)), -39.0)


FLAT = wall_of(np.full(61, -20.0))
TILTED = wall_of(-20.0 + 0.25 * np.arange(-60.0, 61.0, 2.0))


def tube(wall: Wall, course: float, a: float = 9.0, b: float = 2.5, gap: float = 0.75) -> Draped:
    """x = 3 + course · z."""
    one = np.ones(len(HEIGHTS))
    return Draped(
        np.column_stack([HEIGHTS, 3 + course * HEIGHTS, a * one, b * one, gap * one]), wall
    )


@pytest.mark.parametrize("course", [0.0, -0.5])
def test_the_section_on_a_flat_wall_is_an_ellipse_at_its_gap(course: float) -> None:
    t = np.linspace(0, 2 * np.pi, 200)
    for z in (-17.0, 0.0, 23.0):
        x, y = 3 + course * z + 9.0 * np.cos(t), -20 - 0.75 - 2.5 + 2.5 * np.sin(t)
        assert np.abs(tube(FLAT, course).field(x, y, np.full(200, z))).max() < 1e-3


def test_on_a_tilted_wall_it_follows_the_wall() -> None:
    x = np.linspace(-4.0, 10.0, 15)
    deep = 2.5 * np.sqrt(1 - ((x - 3) / 9.0) ** 2)
    middle = -20 + 0.25 * x - 0.75 - 2.5
    for y in (middle - deep, middle + deep):
        assert np.abs(tube(TILTED, 0.0).field(x, y, np.zeros(15))).max() < 1e-3


def test_it_ends_where_its_knots_end() -> None:
    solid, at = tube(FLAT, 0.0), (np.full(2, 3.0), np.full(2, -23.25))
    assert (solid.field(*at, np.array([39.0, -39.0])) < 0).all()
    assert np.allclose(solid.field(*at, np.array([41.0, -43.0])), [1.0, 3.0])


def test_no_point_inside_lies_outside_the_boxes() -> None:
    solid = tube(TILTED, 0.6)
    x, y, z = np.meshgrid(np.arange(-40, 40, 1.0), np.arange(-50, 10, 0.5), np.arange(-39, 40, 3.0))
    inside = solid.field(x, y, z) < 0
    assert inside.any()
    low, high = (np.asarray(end) for end in solid.bounds())
    points = np.stack([x[inside], y[inside], z[inside]], axis=-1)
    assert (points >= low).all()
    assert (points <= high).all()
    part = points[(points[:, 2] > -10) & (points[:, 2] < 12)]
    x0, y0, x1, y1 = solid.section(-10.0, 12.0)
    assert part.min(axis=0)[0] > x0
    assert part.min(axis=0)[1] > y0
    assert part.max(axis=0)[0] < x1
    assert part.max(axis=0)[1] < y1


def test_its_front_is_where_the_next_vessel_rests() -> None:
    solid = tube(FLAT, 0.0)
    x, z = np.array([3.0, 11.0, 30.0]), np.zeros(3)
    inside = np.sqrt(1 - (8 / 9) ** 2)
    expected = [-20 - 0.75 - 5.0, -20 - 0.75 - 2.5 * (1 + inside), -20.0]
    assert np.allclose(front_of([solid], FLAT, x, z), expected, atol=1e-3)
    assert np.allclose(front_of([], FLAT, x, z), -20.0)


@pytest.fixture(scope="module")
def still() -> Anatomy:
    return build_anatomy(11, still=True, vessels="varied")


def test_the_wall_of_a_column_is_never_behind_its_front(still: Anatomy) -> None:
    wall = Wall.of(still.column, -60.0, 60.0)
    rng = np.random.default_rng(3)
    x, z = 2.0 * rng.integers(-12, 13, 60), -60.0 + 2.0 * rng.integers(0, 60, 60)
    fronts = np.array([still.column.front(float(a), float(b)) for a, b in zip(x, z, strict=True)])
    assert (wall.at(x, z) <= fronts + 1e-6).all()
    assert np.median(fronts - wall.at(x, z)) < 1.0


def test_the_wall_leaves_the_column_beside_it(still: Anatomy) -> None:
    wall = Wall.of(still.column, -20.0, 20.0)
    steps = np.diff(wall.at(np.arange(0.0, 60.0, 2.0), np.zeros(30)))
    assert (np.abs(steps) <= 0.8 * 2.0 + 0.2).all()  # the groove before psoas is not vertical


def test_float32_stays_float32() -> None:
    x = np.zeros((2, 3), np.float32)
    assert tube(FLAT, 0.0).field(x, x, x).dtype == np.float32
    assert replace(FLAT, low_mm=-30.0).at(x, x).shape == (2, 3)
