"""The gate's rule on measurements, on errors whose medians are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.retrain.gate import p_worse
from training.retrain.measurement_gate import (
    MeasurementComparison,
    compare_measurements,
    measurement_notes,
    measurement_reasons,
)

Errors = Sequence[float | None]


def side(errors: Errors, reference: float | None = 20.0) -> dict[str, CaseResult]:
    """Cases with a DIVC of 20 mm, measured with these signed errors; None is refused."""
    return {
        f"c{n}": CaseResult(
            f"c{n}", f"p{n}", "imported", "", True, 1.0, 0.9, "", 1.0, {},
            {"DIVC": MeasuredPair(None if e is None else 20.0 + e, reference, "labels")},
        )
        for n, e in enumerate(errors)
    }  # fmt: skip


def row_of(before: Errors, after: Errors) -> MeasurementComparison:
    rows = compare_measurements(side(before), side(after), p_worse)
    assert [r.measurement for r in rows] == list(MAIN_MEASUREMENTS)
    return rows[2]


def reasons_of(before: Errors, after: Errors) -> list[str]:
    return measurement_reasons([row_of(before, after)], 0.3, 0.05)


def test_medians_are_of_absolute_errors_of_cases_that_both_measured() -> None:
    found = row_of([-1.0, 0.2, 3.0, None, 0.1], [0.5, -0.4, 2.0, 9.0, None])
    assert (found.references, found.pairs) == (5, 3)
    assert found.in_service_mm == pytest.approx(1.0)
    assert found.candidate_mm == pytest.approx(0.5)
    assert found.difference_mm == pytest.approx(-0.5)
    assert found.p_worse is None
    assert (found.refused_in_service, found.refused_candidate) == (1, 1)


def test_a_rise_above_the_margin_rejects_and_just_the_margin_does_not() -> None:
    assert reasons_of([0.5] * 3, [-0.81] * 3) == [
        "DIVC: median error 0.81 mm is worse than 0.50 mm by more than 0.3 mm"
    ]
    assert reasons_of([0.5] * 3, [0.79] * 3) == []


def test_a_significant_rise_counts_only_above_the_uncertainty_of_a_reference() -> None:
    before = [0.5 + 0.01 * n for n in range(8)]
    assert reasons_of(before, [e + 0.2 + 0.001 * n for n, e in enumerate(before)]) == [
        "DIVC: median error significantly worse by 0.20 mm (p = 0.0039)"
    ]
    assert row_of(before, [e + 0.05 for e in before]).p_worse == pytest.approx(2**-8)
    assert reasons_of(before, [e + 0.05 for e in before]) == []


def test_one_outlier_does_not_move_a_median_of_many() -> None:
    assert reasons_of([0.5] * 9, [0.5] * 8 + [9.0]) == []


def test_refusing_instead_of_measuring_badly_is_no_way_around_the_gate() -> None:
    assert reasons_of([0.5, 0.5, 4.0], [0.5, 0.5, None]) == [
        "DIVC: refused in 1 of 3 cases with a reference, by the model in service in 0"
    ]
    assert reasons_of([0.5, None, 0.5], [0.5, 0.5, None]) == []  # one lost, one gained
    assert reasons_of([0.5] * 20, [0.5] * 19 + [None]) == []
    assert reasons_of([0.5] * 20, [0.5] * 18 + [None] * 2) != []


def test_what_was_not_compared_is_noted() -> None:
    blind = compare_measurements(side([0.5], None), side([0.5], None), p_worse)
    assert blind[2].references == 0
    assert measurement_notes(blind, 5) == [
        "OC, DAA, DIVC, PI: no held-out case has a reference, so it was not compared"
    ]
    assert measurement_notes([row_of([None], [None])], 5) == [
        "DIVC: no case that both models measured, so only refusals count"
    ]
    assert measurement_notes([row_of([0.1] * 4, [0.1] * 4)], 5) == [
        "DIVC: fewer than 5 measured cases, the margin alone decided, and one case can move such a median"
    ]
    assert measurement_notes([row_of([0.1] * 5, [0.1] * 5)], 5) == []
