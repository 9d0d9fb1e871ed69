"""Where labels go in a picture, so that none lies on a line, a vessel or another label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final, TypeVar

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from dicomseg.volume import Points

Name = TypeVar("Name", bound=str)

_ON_LINE: Final = 1000.0
_CROSSING: Final = 400.0
_THROUGH_LABEL: Final = 400.0
_OVER_LINE: Final = 60.0
_ON_SHAPE: Final = 60.0
_OVER_SHAPE: Final = 15.0
"""Costs of a place in mm of leader: label on a measured line, leaders that cross, and so on."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a label: where its box is held, as shares of the picture from its left and top; -1, 0, 1 name
    the side of the box that is held there, left or top, middle, right or bottom."""

    x: float
    y: float
    side_x: int
    side_y: int


SLOTS: Final = (
    *(Slot(0.02, y, -1, 0) for y in (0.36, 0.62, 0.76)),
    *(Slot(0.98, y, 1, 0) for y in (0.36, 0.62, 0.76)),
    *(
        Slot(x, y, side, -1)
        for y in (0.025, 0.083)
        for x, side in ((0.02, -1), (0.5, 0), (0.98, 1))
    ),
)
"""Columns at both edges and two rows at the top."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A label's box and its leader, both in the picture's mm (a, b)."""

    box: Polygon
    leader: LineString


def place_labels(
    lines: Mapping[Name, Points],
    sizes: Mapping[Name, tuple[float, float]],
    frame: tuple[float, float, float, float],
    shapes: Sequence[BaseGeometry],
    slots: Sequence[Slot] = SLOTS,
) -> dict[Name, Placed]:
    """Give every line the place for its label that costs least together.

    lines: (2, 2) end points (a, b). sizes: width and height of the labels in mm of the picture. frame: least a, least b,
    most a, most b of the picture; b runs down. shapes: what labels should leave free.
    """
    names = list(lines)
    if not names:
        return {}
    strokes = [_stroke(lines[name]) for name in names]
    boxes = [[_box(slot, sizes[name], frame) for slot in slots] for name in names]
    leaders = [
        [_leader(b, stroke) for b in row] for row, stroke in zip(boxes, strokes, strict=True)
    ]
    single = _single_costs(boxes, leaders, strokes, shapes).tolist()
    pair = _pair_costs(boxes, leaders).tolist()
    best = min(
        permutations(range(len(slots)), len(names)),
        key=lambda chosen: _total(chosen, single, pair),
    )
    return {
        name: Placed(boxes[n][slot], leaders[n][slot])
        for n, (name, slot) in enumerate(zip(names, best, strict=True))
    }


def _stroke(points: Points) -> BaseGeometry:
    """The line, or a point where its ends coincide."""
    start, end = points
    return Point(start) if np.allclose(start, end) else LineString(points)


def _box(
    slot: Slot, size: tuple[float, float], frame: tuple[float, float, float, float]
) -> Polygon:
    a0, b0, a1, b1 = frame
    width, height = size
    x = a0 + slot.x * (a1 - a0) - (slot.side_x + 1) / 2 * width
    y = b0 + slot.y * (b1 - b0) - (slot.side_y + 1) / 2 * height
    return box(x, y, x + width, y + height)


def _leader(label: Polygon, stroke: BaseGeometry) -> LineString:
    middle = stroke.centroid
    edge = label.exterior
    return LineString([edge.interpolate(edge.project(middle)), middle])


def _single_costs(
    boxes: Sequence[Sequence[Polygon]],
    leaders: Sequence[Sequence[LineString]],
    strokes: Sequence[BaseGeometry],
    shapes: Sequence[BaseGeometry],
) -> Points:
    """Cost (names, slots) of each label in each place, whatever the others do."""
    labels, ways = np.array(boxes, object), np.array(leaders, object)
    cost = shapely.length(ways)
    for n, stroke in enumerate(strokes):
        cost += _ON_LINE * shapely.intersects(labels, stroke.buffer(0.5))
        others = np.arange(len(strokes)) != n
        cost[others] += _OVER_LINE * shapely.intersects(ways[others], stroke)
    for shape in shapes:
        cost += _ON_SHAPE * shapely.intersects(labels, shape)
        cost += _OVER_SHAPE * shapely.intersects(ways, shape)
    return np.asarray(cost, np.float64)


def _pair_costs(
    boxes: Sequence[Sequence[Polygon]], leaders: Sequence[Sequence[LineString]]
) -> Points:
    """Cost (names, slots, names, slots) of two labels in two places."""
    count, slots = len(boxes), len(boxes[0])
    labels, ways = np.array(boxes, object).ravel(), np.array(leaders, object).ravel()
    crossing = shapely.intersects(ways[:, None], ways[None, :])
    through = shapely.intersects(ways[:, None], labels[None, :])
    overlap = shapely.intersects(labels[:, None], labels[None, :])
    cost = _CROSSING * crossing + _THROUGH_LABEL * (through | through.T) + _ON_LINE * overlap
    return np.asarray(cost, np.float64).reshape(count, slots, count, slots)


def _total(chosen: Sequence[int], single: list[Any], pair: list[Any]) -> float:
    cost = 0.0
    for n, slot in enumerate(chosen):
        cost += single[n][slot]
        for m in range(n):
            cost += pair[n][slot][m][chosen[m]]
    return cost
