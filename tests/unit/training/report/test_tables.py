"""Tables as text cells, with the rows of the paper."""

from __future__ import annotations

from tests.support.case_results import case_result
from training.evaluate.case_results import MeasuredPair
from training.evaluate.summary import group
from training.report.tables import dice_table, markdown, measurement_tables


def test_a_reference_is_covered_inside_the_range_or_within_twice_the_uncertainty() -> None:
    pairs = [
        MeasuredPair(10.0, 10.9, "truth", uncertainty_mm=0.5),
        MeasuredPair(10.0, 11.1, "truth", uncertainty_mm=0.5),
        MeasuredPair(20.0, 9.0, "truth", range_mm=(8.5, 21.0)),
        MeasuredPair(20.0, 8.0, "truth", range_mm=(8.5, 21.0)),
        MeasuredPair(10.0, 10.0, "truth"),
        MeasuredPair(None, 10.0, "truth", "cut_by_image"),
    ]
    summary = group(
        "all", [case_result(str(n), 0.9, measurements={"DAA": p}) for n, p in enumerate(pairs)]
    )
    [row] = summary.measurements
    assert (row.covered, row.ranges) == (2, 2)
    assert "| 2 (with a range: 2) |" in markdown(measurement_tables(summary)[1])


def test_tables_carry_the_papers_rows() -> None:
    summary = group("phantom", [case_result("a", 0.9, 0.5), case_result("b", 0.8, -0.5)])
    text = markdown(dice_table(summary))
    assert "| L4 | 2 | 0.850 |" in text
    assert "| paper | 50 | 0.931 |" in text
    assert "| paper | 50 | 0.886 |" not in text  # its mean is of eight structures, ours of two
    values, agreements = measurement_tables(summary)
    assert values.rows[1][:3] == ("paper", "50", "9.21 ± 4.90 (0.00–17.97)")
    assert agreements.rows[1][3] == "-2.05 to 2.32"
    assert values.beside == frozenset({1, 3, 5, 7})
