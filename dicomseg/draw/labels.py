"""Where labels go in a picture, so that none lies on a line, a vessel or another label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from dicomseg.volume import Points

Name = TypeVar("Name", bound=str)

_ON_LINE: Final = 1000.0
_CROSSING: Final = 400.0
_THROUGH_LABEL: Final = 400.0
_OVER_LINE: Final = 40.0
_ON_SHAPE: Final = 60.0
_OVER_SHAPE: Final = 15.0
_OFF_MIDDLE: Final = 8.0
_CORNER: Final = 4.0
"""Costs of a place in mm of leader: label on a measured line, leaders that cross, and so on. A label of which less than
1 / `_CORNER` lies on a shape costs less in that proportion."""


_ANCHORS: Final = (0.5, 0.25, 0.75)
"""Where on its line a leader may end."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a label: where its box is held, as shares of the picture from its left and top; -1, 0, 1 name
    the side of the box that is held there, left or top, middle, right or bottom."""

    x: float
    y: float
    side_x: int
    side_y: int


_ROWS: Final = (0.25, 0.36, 0.44, 0.53, 0.62, 0.76)
SLOTS: Final = (
    *(Slot(0.02, y, -1, 0) for y in _ROWS),
    *(Slot(0.98, y, 1, 0) for y in _ROWS),
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
        [
            [_leader(b, stroke, share) for b in row]
            for row, stroke in zip(boxes, strokes, strict=True)
        ]
        for share in _ANCHORS
    ]
    costs = np.stack([_single_costs(boxes, ways, strokes, shapes) for ways in leaders])
    costs[1:] += _OFF_MIDDLE
    anchor = costs.argmin(axis=0)
    chosen = [
        [leaders[anchor[n, slot]][n][slot] for slot in range(len(slots))] for n in range(len(names))
    ]
    best = _cheapest(costs.min(axis=0), _pair_costs(boxes, chosen))
    return {
        name: Placed(boxes[n][slot], chosen[n][slot])
        for n, (name, slot) in enumerate(zip(names, best, strict=True))
    }


def _cheapest(single: Points, pair: Points) -> tuple[int, ...]:
    """The slot of each name at which all costs together are least. single: (names, slots), pair: twice that."""
    count, slots = single.shape
    total = np.zeros((slots,) * count)
    for n in range(count):
        total += single[n].reshape([slots if axis == n else 1 for axis in range(count)])
        for m in range(n):
            shape = [slots if axis in {m, n} else 1 for axis in range(count)]
            total += pair[m, :, n].reshape(shape)
    return tuple(int(slot) for slot in np.unravel_index(total.argmin(), total.shape))


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


def _leader(label: Polygon, stroke: BaseGeometry, share: float) -> LineString:
    """From the label's edge to a point of the line, as a share of its length."""
    end = stroke if isinstance(stroke, Point) else stroke.interpolate(share, normalized=True)
    edge = label.exterior
    return LineString([edge.interpolate(edge.project(end)), end])


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
        covered = shapely.area(shapely.intersection(labels, shape)) / shapely.area(labels)
        cost += _ON_SHAPE * np.minimum(_CORNER * covered, 1.0)
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
