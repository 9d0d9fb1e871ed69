"""A change is compared with what both values leave open, and not given where they mean different things."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from dicomseg.compare.change import REASONS, Change, Reading, compare, level_of, readings
from tests.support.visits import content, length

OC = Reading(10.0, "mm", 0.5, None, ("m", "left", "a", "b"))


def test_limit_is_both_expanded_uncertainties_in_quadrature() -> None:
    after = replace(OC, value=11.4, uncertainty=0.5)
    change = compare(OC, after)
    assert change.change == pytest.approx(1.4)
    assert change.limit == pytest.approx(math.sqrt(1.0**2 + 1.0**2))  # twice 0.5 each
    assert change.exceeds is False
    assert compare(OC, replace(after, value=11.45)).exceeds is True
    assert compare(OC, replace(after, value=8.55)).exceeds is True
    assert compare(OC, replace(after, value=8.55)).change == pytest.approx(-1.45)
    # One sure and one unsure value: √(0.4² + 3²)
    wide = compare(replace(OC, uncertainty=0.2), replace(OC, value=13.0, uncertainty=1.5))
    assert wide.limit == pytest.approx(math.hypot(0.4, 3.0))
    assert wide.exceeds is False


@pytest.mark.parametrize(("later", "exceeds"), [(12.9, False), (13.1, True)])
def test_a_range_is_exceeded_only_where_both_intervals_lie_apart(
    later: float, exceeds: bool
) -> None:
    ranged = replace(OC, uncertainty=None, limits=(9.0, 12.0))
    change = compare(ranged, replace(OC, value=later))
    assert change.limit == pytest.approx(2.0 + 1.0)  # upwards from 10 to 12, and 2 × 0.5 down
    assert change.exceeds is exceeds
    down = compare(ranged, replace(OC, value=7.9))
    assert down.limit == pytest.approx(1.0 + 1.0)
    assert down.exceeds is True


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, OC, "absent_before"),
        (OC, None, "absent_now"),
        (replace(OC, value=None, refusal="no_section"), OC, "refused_before"),
        (OC, replace(OC, value=None, refusal="no_section"), "refused_now"),
        (OC, replace(OC, unit="mm2"), "other_unit"),
        (OC, replace(OC, measured=("n", "left", "a", "b")), "other_definition"),
        (OC, replace(OC, measured=("m", "left", "a", "c")), "other_structure"),
        (OC, replace(OC, measured=("m", "right", "a", "b")), "other_structure"),
    ],
)
def test_values_that_mean_different_things_have_no_change(
    before: Reading | None, after: Reading | None, reason: str
) -> None:
    assert compare(before, after) == Change(reason=reason)
    assert reason in REASONS


def test_no_verdict_where_an_uncertainty_is_not_known() -> None:
    later = replace(OC, value=20.0)
    unknown = compare(replace(OC, uncertainty=None), later)
    assert (unknown.change, unknown.exceeds, unknown.reason) == (10.0, None, "uncertainty_unknown")
    # Without the model's part the limit is too small: it can show that nothing changed, not that something did.
    partly = replace(OC, complete=False)
    assert compare(partly, later).exceeds is None
    assert compare(partly, later).reason == "model_part_unknown"
    assert compare(partly, replace(OC, value=10.2)).exceeds is False


def test_no_verdict_where_the_level_is_doubtful() -> None:
    change = compare(OC, replace(OC, value=20.0), doubtful=True)
    assert (change.change, change.exceeds, change.reason) == (10.0, None, "level_doubtful")


def test_readings_are_those_of_the_result() -> None:
    result = content(measurements={"OC": length(9.5, None, range_mm=[9.0, 11.0]), "PI": length(None, None)})  # fmt: skip
    found = readings(result)
    assert list(found) == ["OC", "PI", "psoas_area_left"]
    assert (found["OC"].value, found["OC"].unit, found["OC"].limits) == (9.5, "mm", (9.0, 11.0))
    assert (found["PI"].value, found["PI"].refusal) == (None, "no_section")
    area = found["psoas_area_left"]
    assert (area.value, area.unit, area.uncertainty, area.complete) == (900.0, "mm2", 8.0, False)
    assert found["OC"].complete


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"measurements": []},
        {"measurements": {"OC": 3}},
        {"measurements": None, "extra": {"a": []}},
    ],
)
def test_damaged_results_have_no_readings(damaged: dict[str, Any]) -> None:
    assert readings(damaged) == {}


def test_numbers_that_are_none_are_absent() -> None:
    for value in (True, "10", math.nan, math.inf, [1]):
        (found,) = readings({"measurements": {"OC": length(None) | {"refusal": None, "value_mm": value}}}).values()  # fmt: skip
        assert compare(found, OC).reason == "absent_before"
    (odd,) = readings({"measurements": {"OC": length(1.0, -3.0, range_mm=[5.0, 2.0])}}).values()
    assert (odd.uncertainty, odd.limits) == (None, None)


def test_level_is_doubtful_where_a_warning_says_so() -> None:
    sure, unsure = content(), content(warnings=[{"code": "level", "text": "low confidence"}])
    assert level_of(sure) == ("L4/L5: second disc above the sacrum", False)
    assert level_of(unsure) == ("L4/L5: second disc above the sacrum", True)
    gap = content(level={"name": "L4/L5", "rule": "r", "warnings": ["halfway"]})
    assert level_of(gap) == ("L4/L5: r", True)
