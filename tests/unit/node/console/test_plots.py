"""Where plots put their values, read back from the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from node.console.plots import (
    Line,
    bland_altman_plot,
    curve_plot,
    nice_marks,
    reach_of,
)
from node.models.case_figures import Pair, agreement

NS = "{http://www.w3.org/2000/svg}"
REACH = ((0.0, 20.0), (-2.0, 2.0))


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.7, [0.0, 0.5, 1.0, 1.5, 2.0]),
        (0.0, 400.0, [0.0, 100.0, 200.0, 300.0, 400.0]),
        (-1.3, 2.1, [-2.0, 0.0, 2.0, 4.0]),
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (9.98, 10.02, [9.98, 9.99, 10.0, 10.01, 10.02]),
    ],
)
def test_marks_are_round_and_hold_the_values(low: float, high: float, marks: list[float]) -> None:
    assert nice_marks(low, high) == marks


def parsed(svg: str) -> ET.Element:
    """The picture's elements; a page shows it only if it is well-formed."""
    return ET.fromstring(svg)  # noqa: S314 - our own


def heights(svg: str, tag: str, name: str) -> list[float]:
    return [float(e.get(name, "nan")) for e in parsed(svg).iter(NS + tag)]


def test_lines_lie_where_their_values_are() -> None:
    svg = curve_plot("Loss", [Line("training", [(0, 2.0), (100, 1.0), (200, 0.0)])], 400)
    (line,) = parsed(svg).iter(NS + "polyline")
    points = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    assert points == [
        (52.0, 40.0),
        (145.5, 125.0),
        (239.0, 210.0),
    ]  # half the width: half the steps
    assert 'aria-label="Loss: training 0.000 at step 200"' in svg


def test_two_lines_differ_without_colour_and_an_empty_plot_is_one() -> None:
    svg = curve_plot("Loss", [Line("training", [(1, 1), (2, 2)]), Line("validation", [(1, 3), (2, 1)])], None)  # fmt: skip
    dashes = [e.get("stroke-dasharray") for e in parsed(svg).iter(NS + "polyline")]
    assert dashes == [None, "7 4"]
    assert "nothing yet" in curve_plot("Loss", [Line("training", [])], None)
    parsed(curve_plot("Loss", [Line("training", [(0, 0.0)])], 0))


def test_bias_and_limits_are_drawn_at_their_values() -> None:
    pairs = [Pair(10.5, 10), Pair(9.0, 10), Pair(12, 10)]
    points = [(str(n), (p.automatic + p.reference) / 2, p.difference) for n, p in enumerate(pairs)]  # type: ignore[operator]
    found = agreement(pairs)
    svg = bland_altman_plot("OC", points, found, hollow=False, reach=((0.0, 20.0), (-4.0, 4.0)))  # type: ignore[arg-type]
    middle, scale = 125.0, (210.0 - 40.0) / 8  # of zero, and points per mm
    circles = heights(svg, "circle", "cy")
    assert circles == pytest.approx([middle - scale * d for d in (0.5, -1.0, 2.0)], abs=0.06)
    assert found.bias == pytest.approx(0.5)
    assert found.limits == pytest.approx((0.5 - 2.94, 0.5 + 2.94))
    solid = [e for e in parsed(svg).iter(NS + "line") if e.get("stroke-width") == "1.5"]
    assert [float(e.get("y1", "0")) for e in solid] == pytest.approx(
        [middle - scale * v for v in (0.5, 0.5 - 2.94, 0.5 + 2.94)], abs=0.06
    )
    assert [e.get("stroke-dasharray") for e in solid] == [None, "6 4", "6 4"]
    assert "3 pairs, bias +0.50 mm, limits of agreement -2.44 to +3.44 mm" in svg


def test_both_models_share_their_axes() -> None:
    one, two = agreement([Pair(11, 10)]), agreement([Pair(7, 10), Pair(13, 10)])
    reach = reach_of([[("a", 10.5, 1.0)], [("a", 8.5, -3.0), ("b", 11.5, 3.0)]], [one, two])
    assert reach[0] == (8.5, 11.5)
    assert reach[1] == pytest.approx((-1.96 * 18**0.5, 1.96 * 18**0.5))
    assert reach_of([[]], [agreement([])]) == ((0.0, 0.0), (0.0, 0.0))
    parsed(bland_altman_plot("OC", [], agreement([]), hollow=True, reach=((0.0, 0.0), (0.0, 0.0))))  # fmt: skip


def test_names_of_cases_stay_texts() -> None:
    svg = bland_altman_plot('<b>"OC', [("</title><script>\u202e", 1.0, 0.5)], agreement([Pair(1, 1)]), hollow=True, reach=REACH)  # fmt: skip
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert not re.search(r"style=|\son\w+=", svg)
    parsed(svg)
