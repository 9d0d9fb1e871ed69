"""A run of the self-test judged by the truth and by the first run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.selftest.judge import against_first, measured
from node.store.selftest_history import SelftestRow

ROW = SelftestRow(1.0, "failed", "", "lumbar 1", "d", "openvino float32", "0.2", "s")
TRUTH: dict[str, Any] = {
    "measurements": {"OC": {"value_mm": 9.0}, "DAA": {"value_mm": 20.0}},
    "level": {"centre_lps": [0, 0, 0]},
}


def result(oc: float | None, off_mm: float = 1.0, volume_ml: float = 20.0) -> dict[str, Any]:
    refusal = {"text": "not visible"} if oc is None else None
    return {
        "measurements": {
            "OC": {"value_mm": oc, "uncertainty_mm": 0.5, "refusal": refusal},
            "DAA": {"value_mm": 20.0, "uncertainty_mm": 0.5, "refusal": None},
        },
        "level": {"centre_mm": [off_mm, 0, 0]},
        "structures": {"ivc": {"volume_ml": volume_ml}},
    }


def test_the_first_run_that_is_true_is_the_reference() -> None:
    first = against_first(measured(ROW, result(9.2), TRUTH), None)
    assert (first.outcome, first.reference, first.drift_mm) == ("passed", True, None)
    assert first.error_mm == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (result(10.3), "not the truth: OC +1.30 mm off"),
        (result(None), "not the truth: OC refused"),
        (result(9.0, off_mm=9.0), "not the truth: disc 9.0 mm off"),
    ],
)
def test_what_is_not_true_fails_and_is_no_reference(found: dict[str, Any], reason: str) -> None:
    row = against_first(measured(ROW, found, TRUTH), None)
    assert (row.outcome, row.reason, row.reference) == ("failed", reason, False)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (result(9.24), "passed"),
        (result(9.3), "drifted"),
        (result(9.2, volume_ml=20.2), "drifted"),
        (result(9.2, volume_ml=20.05), "passed"),
    ],
)
def test_a_true_value_that_moved_has_drifted(found: dict[str, Any], outcome: str) -> None:
    first = against_first(measured(ROW, result(9.2), TRUTH), None)
    row = against_first(measured(ROW, found, TRUTH), first)
    assert row.outcome == outcome
    assert row.reference is False


def test_a_drift_names_the_software_of_the_first_run() -> None:
    first = against_first(measured(replace(ROW, software="0.1"), result(9.2), TRUTH), None)
    row = against_first(measured(ROW, result(9.3), TRUTH), first)
    assert row.reason == "differs from the first run (software then 0.1): OC +0.10 mm"
