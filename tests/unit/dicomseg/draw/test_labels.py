"""Labels lie in the picture, on no line, and on no other label."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, box

from dicomseg.draw.labels import Slot, _cheapest, place_labels

FRAME = (-56.0, -50.0, 56.0, 47.0)
NAMES = ("OC", "DAA", "DIVC", "PI")
SIZE = (36.0, 4.6)
coordinate = st.tuples(st.floats(-45, 45), st.floats(-32, 25))


@given(st.lists(st.tuples(coordinate, coordinate), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_labels_leave_lines_and_each_other_free(
    ends: list[tuple[tuple[float, float], ...]],
) -> None:
    lines = {name: np.array(pair) for name, pair in zip(NAMES, ends, strict=True)}
    placed = place_labels(lines, dict.fromkeys(NAMES, SIZE), FRAME, [])
    picture = box(*FRAME)
    strokes = [LineString(pair) for pair in ends]
    boxes = [placed[name].box for name in NAMES]
    assert all(picture.contains(b) for b in boxes)
    assert all(not a.intersects(b) for n, a in enumerate(boxes) for b in boxes[:n])
    # twelve places, of which four lines can cover no more than eight with their own length
    on_lines = sum(b.intersects(s) for b in boxes for s in strokes)
    assert on_lines == 0


def test_a_leader_joins_a_label_with_the_middle_of_its_line() -> None:
    line = np.array([[20.0, -20.0], [30.0, -26.0]])
    placed = place_labels({"OC": line}, {"OC": SIZE}, FRAME, [])["OC"]
    start, end = np.array(placed.leader.coords)
    assert end == pytest.approx([25.0, -23.0])
    assert placed.box.exterior.distance(LineString([start, start])) < 1e-9
    assert placed.box.bounds[2] - placed.box.bounds[0] == pytest.approx(36.0)


def test_a_shape_is_left_free_where_there_is_room() -> None:
    line = np.array([[30.0, -35.0], [40.0, -30.0]])
    vessel = box(15.0, -50.0, 56.0, -25.0)
    free = place_labels({"OC": line}, {"OC": SIZE}, FRAME, [])["OC"]
    placed = place_labels({"OC": line}, {"OC": SIZE}, FRAME, [vessel])["OC"]
    assert free.box.intersects(vessel)
    assert not placed.box.intersects(vessel)


def test_a_leader_ends_beside_the_middle_rather_than_on_another_line() -> None:
    own = np.array([[-20.0, -20.0], [20.0, -20.0]])
    other = np.array([[-6.0, -26.0], [6.0, -26.0]])  # where the way to the middle is
    slots = (Slot(0.5, 0.025, 0, -1), Slot(0.02, 0.025, -1, -1))
    placed = place_labels({"OC": own, "PI": other}, {"OC": SIZE, "PI": SIZE}, FRAME, [], slots)
    end = np.array(placed["OC"].leader.coords)[-1]
    assert abs(end[0]) == pytest.approx(10.0)
    assert not placed["OC"].leader.intersects(LineString(other))


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_cheapest_places_are_those_of_all_permutations(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    single, pair = rng.uniform(0, 9, (count, 6)), rng.uniform(0, 9, (count, 6, count, 6))
    for slot in range(6):
        pair[:, slot, :, slot] = 1000.0  # two labels in one place

    def cost(chosen: tuple[int, ...]) -> float:
        own = sum(single[n, slot] for n, slot in enumerate(chosen))
        return own + sum(pair[m, chosen[m], n, chosen[n]] for n in range(count) for m in range(n))

    best = min(permutations(range(6), count), key=cost)
    assert _cheapest(single, pair) == best


def test_coinciding_ends_are_a_point() -> None:
    placed = place_labels({"PI": np.array([[3.0, 4.0], [3.0, 4.0]])}, {"PI": SIZE}, FRAME, [])
    assert np.array(placed["PI"].leader.coords)[-1] == pytest.approx([3.0, 4.0])


def test_nothing_to_label_needs_no_place() -> None:
    assert place_labels({}, {}, FRAME, []) == {}
