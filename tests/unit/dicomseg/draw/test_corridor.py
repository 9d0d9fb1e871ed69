"""The free space between psoas and artery, of figures with known areas."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Point, box

from dicomseg.draw.corridor import HALF_PLATE_MM, REACH_MM, corridor_plate, find_corridor
from dicomseg.draw.surface import is_closed
from dicomseg.result import Plane

DISC = Point(0.0, 0.0).buffer(20.0, quad_segs=64)
UP = Plane((5.0, 6.0, 7.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
# a line of 10 mm across the way from straight left: artery in front (b < 0), psoas behind
LINE = np.array([[25.0, 5.0], [25.0, -5.0]])
PSOAS, ARTERY = box(15.0, 5.0, 80.0, 40.0), box(15.0, -40.0, 80.0, -5.0)


def test_the_space_is_as_wide_as_the_line_from_the_disc_outwards() -> None:
    found = find_corridor(LINE, DISC, [PSOAS, ARTERY])
    assert found is not None
    # 10 mm wide, from the disc's edge (mean 19.57 mm over the width) to 30 mm beyond the line
    assert found.shape.area == pytest.approx(10.0 * (25.0 + REACH_MM - 19.57), rel=0.01)
    assert found.direction_deg == pytest.approx(0.0, abs=1e-6)
    assert not found.shape.buffer(-0.05).intersects(DISC)
    assert found.shape.contains(Point(30.0, 0.0))


@pytest.mark.parametrize(("turn_deg", "direction"), [(-40.0, 40.0), (-90.0, 90.0)])
def test_the_direction_counts_from_the_left_towards_the_front(
    turn_deg: float, direction: float
) -> None:
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    found = find_corridor(LINE @ np.array([[c, s], [-s, c]]), DISC, [])
    assert found is not None
    assert found.direction_deg == pytest.approx(direction, abs=1e-6)


def test_a_vessel_in_the_way_ends_the_space() -> None:
    vein = box(40.0, -6.0, 44.0, 6.0)
    found = find_corridor(LINE, DISC, [PSOAS, ARTERY, vein])
    assert found is not None
    assert found.shape.bounds[2] == pytest.approx(40.0, abs=0.01)


@pytest.mark.parametrize(
    "line",
    [
        np.array([[25.0, 0.1], [25.0, -0.1]]),  # they touch
        np.array([[25.0, 0.0], [35.0, 0.0]]),  # the line runs along the way
    ],
)
def test_no_space_has_no_shape(line: np.ndarray) -> None:
    assert find_corridor(line, DISC, [PSOAS, ARTERY]) is None


def test_the_plate_is_closed_and_twice_as_thick_as_its_half() -> None:
    found = find_corridor(LINE, DISC, [PSOAS, ARTERY])
    assert found is not None
    plate = corridor_plate(found, UP)
    _, number = np.unique(plate.vertices_lps, axis=0, return_inverse=True)
    assert is_closed(number.ravel()[plate.faces])
    volume_ml = found.shape.area * 2 * HALF_PLATE_MM / 1000
    assert plate.volume_ml == pytest.approx(volume_ml, rel=0.01)
    low, high = plate.vertices_lps.min(axis=0), plate.vertices_lps.max(axis=0)
    assert (low[2], high[2]) == pytest.approx((7.0 - HALF_PLATE_MM, 7.0 + HALF_PLATE_MM))
    assert high[0] == pytest.approx(5.0 + 25.0 + REACH_MM, abs=0.1)
