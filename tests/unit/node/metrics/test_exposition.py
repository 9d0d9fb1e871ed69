from __future__ import annotations

import math

import pytest

from node.metrics.exposition import LONGEST_VALUE, Histogram, Metric, render
from tests.support.exposition import parse

GAUGE = Metric("x_seconds", "gauge", 'a "help" with \\ and\na line', ("sender",))
HOSTILE = ('A"B', "back\\slash", "new\nline", 'x"} 1\ny_total{a="', "\ud800", "ä€", "", " ", "{}")


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_peer_calls_itself_is_one_label_and_nothing_else(value: str) -> None:
    family = parse(render([(GAUGE, {(value,): 1.5})]))["x_seconds"]
    ((key, number),) = family.samples.items()
    assert key == ("x_seconds", (("sender", value.encode("utf-8", "replace").decode()),))
    assert number == 1.5


def test_long_label_is_cut() -> None:
    family = parse(render([(GAUGE, {("y" * 5000,): 1})]))["x_seconds"]
    (((_, labels), _),) = family.samples.items()
    assert labels == (("sender", "y" * LONGEST_VALUE),)


def test_numbers_and_an_empty_metric() -> None:
    counter = Metric("n_total", "counter", "n")
    text = render([(counter, {(): 2**40}), (GAUGE, {})])
    assert text == "# HELP n_total n\n# TYPE n_total counter\nn_total 1099511627776\n"
    parsed = parse(render([(GAUGE, {("a",): math.inf, ("b",): math.nan, ("c",): 0.1})]))[
        "x_seconds"
    ]
    assert parsed.value(sender="a") == math.inf
    assert math.isnan(parsed.value(sender="b"))
    assert parsed.value(sender="c") == 0.1


def test_buckets_of_a_histogram_add_up() -> None:
    metric = Metric("s_seconds", "histogram", "s", ("stage",))
    family = parse(render([(metric, {("a",): Histogram((1.0, 2.5), (3, 0, 2), 12.5)})]))[
        "s_seconds"
    ]
    assert family.value("_bucket", stage="a", le="1") == 3
    assert family.value("_bucket", stage="a", le="2.5") == 3
    assert family.value("_bucket", stage="a", le="+Inf") == 5
    assert family.value("_sum", stage="a") == 12.5
    assert family.value("_count", stage="a") == 5


@pytest.mark.parametrize(
    "text",
    [
        "x 1\n",
        "# HELP x h\n# TYPE x gauge\nx 1",
        "# HELP x h\n# TYPE x counter\nx 1\n",
        '# HELP x h\n# TYPE x gauge\nx{a="1" b="2"} 1\n',
        '# HELP x h\n# TYPE x gauge\nx{a="\\d"} 1\n',
        "# HELP x h\n# TYPE x gauge\nx 1\nx 1\n",
        "# HELP x h\n# TYPE x gauge\ny 1\n",
        "# HELP x_total h\n# TYPE x_total counter\nx_total -1\n",
        '# HELP s h\n# TYPE s histogram\ns_bucket{le="1"} 2\ns_bucket{le="+Inf"} 1\ns_sum 1\ns_count 1\n',
    ],
)
def test_strict_reader_refuses(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)
