"""Labels lie in the picture, on no line, and on no other label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, box

from dicomseg.draw.labels import place_labels

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


def test_coinciding_ends_are_a_point() -> None:
    placed = place_labels({"PI": np.array([[3.0, 4.0], [3.0, 4.0]])}, {"PI": SIZE}, FRAME, [])
    assert np.array(placed["PI"].leader.coords)[-1] == pytest.approx([3.0, 4.0])


def test_nothing_to_label_needs_no_place() -> None:
    assert place_labels({}, {}, FRAME, []) == {}
