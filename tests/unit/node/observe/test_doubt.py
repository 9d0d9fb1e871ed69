"""What speaks against a result, in words and with a weight; worst first."""

from __future__ import annotations

from typing import Any

import pytest

from dicomseg.compare.change import Change
from node.observe.doubt import doubts_of, total
from tests.support.visits import content, length

SURE = {"name": "L4/L5", "rule": "r", "centre_mm": [0, 0, 0], "confidence": 0.95, "warnings": []}


def _result(**changes: Any) -> dict[str, Any]:
    """A result that nothing speaks against, and what is changed in it."""
    four = {name: length(10.0) for name in ("OC", "DAA", "DIVC", "PI")}
    given = changes.pop("measurements", {})
    return content(**{"level": SURE, "measurements": four | given, **changes})


def _said(result: dict[str, Any], changes: Any = None) -> list[tuple[str, float, str]]:
    return [(d.code, d.weight, d.text) for d in doubts_of(result, changes)]


def _warning(code: str, text: str) -> dict[str, Any]:
    return {"code": code, "text": text, "structure": None, "severity": "warning"}


def test_of_a_sure_result_nothing_is_said() -> None:
    assert _said(_result()) == []
    assert total(()) == 0.0


@pytest.mark.parametrize(
    ("confidence", "warnings", "weight"),
    [(0.79, [], 21.0), (0.6, [], 40.0), (0.3, ["the level is uncertain (confidence 0.30): check the counting"], 70.0),
     (0.9, ["seven discs are in view"], 50.0)],
)  # fmt: skip
def test_the_level_weighs_by_what_is_not_sure(
    confidence: float, warnings: list[str], weight: float
) -> None:
    level = {**SURE, "confidence": confidence, "warnings": warnings}
    ((code, found, text),) = _said(_result(level=level))
    assert (code, found) == ("level", pytest.approx(weight))
    assert text.startswith(f"the level may be another disc: confidence {confidence:.2f}")
    assert ("seven discs" in text) == ("seven discs are in view" in warnings)
    assert text.count("confidence") == 1


def test_a_value_that_is_not_given_or_wide_or_flagged_is_named() -> None:
    values = {
        "OC": length(None), "DAA": length(15.0, 2.5), "DIVC": length(20.0, None, range_mm=[11.0, 21.0]),
        "PI": length(1.9, 1.99, flags=["outline_unsure", "at_bifurcation"]),
    }  # fmt: skip
    assert _said(_result(measurements=values)) == [
        ("wide", 30.0, "DIVC is known to ±9.0 mm only"),
        ("refused", 25.0, "OC is not given: not visible"),
        ("wide", 18.75, "DAA is known to ±5.0 mm only"),
        ("flag", 5.0, "PI: outline unsure"),
        ("flag", 5.0, "PI: at bifurcation"),
    ]


def test_warnings_about_values_are_said_and_those_about_headers_are_not() -> None:
    warnings = [
        _warning("thick_slices", "slices are thick"), _warning("header_cleaned", "PatientAge"),
        _warning("cut_by_image", "Dural sac is cut"),
        _warning("vessel_side_uncertain", "sides may be exchanged"), _warning("level", "the level is uncertain"),
    ]  # fmt: skip
    found = _said(_result(warnings=warnings))
    assert [(code, weight) for code, weight, _ in found] == [
        ("level", 50.0), ("vessel_side_uncertain", 40.0), ("thick_slices", 10.0), ("cut_by_image", 2.0),
    ]  # fmt: skip


def test_a_change_counts_where_it_exceeds() -> None:
    changes = {
        "OC": Change(-3.0, 1.41, exceeds=True), "DAA": Change(1.0, 1.41, exceeds=False),
        "DIVC": Change(5.0, 0.4, None, "model_part_unknown"), "PI": Change(9.0, 1.41, None, "level_doubtful"), "psoas_area_left": Change(99.0, 1.0, exceeds=True),
    }  # fmt: skip
    assert _said(_result(), changes) == [
        (
            "change",
            15.0,
            "OC changed by -3.00 mm since the patient's study before, more than 1.41 mm",
        ),
        (
            "change",
            10.0,
            "DIVC changed by +5.00 mm since the patient's study before, more than 0.40 mm; what the model adds to that is not known",
        ),
    ]


def test_what_cannot_be_read_is_worst() -> None:
    bad = content(None)
    bad["level"] = {"confidence": 0.3, "warnings": ["x"]}
    assert _said({}) == [("unreadable", 200.0, "its values cannot be read")]
    assert total(doubts_of({})) > total(doubts_of(bad))


@pytest.mark.parametrize(
    "changes",
    [{"warnings": "x"}, {"warnings": [1, None, {}]}, {"level": None}, {"level": {"confidence": "high", "warnings": 7}},
     {"measurements": {"OC": length(1.0, flags=3), "DAA": {"refusal": 4, "value_mm": "x"}}}],
)  # fmt: skip
def test_a_strange_file_raises_nothing(changes: dict[str, Any]) -> None:
    assert total(doubts_of(_result(**changes))) >= 0.0
