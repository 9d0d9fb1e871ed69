"""Values of a result beside the truth."""

from __future__ import annotations

from typing import Any

import pytest

from node.phantom.truth import compare_values, level_off_mm

TRUTH: dict[str, Any] = {
    "measurements": {"OC": {"value_mm": 9.0}, "DAA": {"value_mm": 20.0}, "PI": {"value_mm": None}},
    "level": {"centre_lps": [0.0, 0.0, 0.0]},
}


def result(**values: float | None) -> dict[str, Any]:
    return {
        "measurements": {
            name: {
                "value_mm": value,
                "uncertainty_mm": None if value is None else 0.5,
                "refusal": {"text": "no section"} if value is None else None,
            }
            for name, value in values.items()
        },
        "level": {"centre_mm": [3.0, 4.0, 0.0]},
    }


def test_a_value_agrees_within_twice_its_stated_uncertainty() -> None:
    inside, outside = compare_values(result(OC=9.9, DAA=21.1), TRUTH)
    assert (inside.agrees, outside.agrees) == (True, False)
    assert outside.deviation_mm == pytest.approx(1.1)
    assert outside.limit_mm == 1.0


def test_a_refusal_where_there_is_a_true_value_does_not_agree_and_one_without_is_left_out() -> None:
    refused, other = compare_values(result(OC=None, DAA=20.0, PI=1.0), TRUTH)
    assert (refused.agrees, refused.reason, other.agrees) == (False, "no section", True)


def test_the_distance_of_the_disc() -> None:
    assert level_off_mm(result(), TRUTH) == 5.0
