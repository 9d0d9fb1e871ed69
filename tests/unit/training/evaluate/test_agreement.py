"""Statistics against hand-made values and published ones."""

from __future__ import annotations

from statistics import fmean, stdev

import numpy as np
import pytest

from training.evaluate.agreement import agreement, icc, pearson_r, wilcoxon_p
from training.evaluate.paper_values import ORDER, TABLE2, TABLE3


def test_icc_of_the_published_example() -> None:
    # Shrout & Fleiss 1979, table 2: four judges; ICC(2,1) = 0.290. Two-rater values of judges 1 and 3
    # by the formulas of the same paper, worked out manually from the sums of squares.
    one, three = [9, 6, 8, 7, 10, 6], [5, 3, 4, 2, 6, 4]
    table = np.array([one, three], float).T
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    ms_rows = 2 * ((rows - grand) ** 2).sum() / 5
    ms_columns = 6 * ((columns - grand) ** 2).sum()
    ms_error = ((table - rows[:, None] - columns + grand) ** 2).sum() / 5
    want = (ms_rows - ms_error) / (ms_rows + ms_error + 2 * (ms_columns - ms_error) / 6)
    assert icc(one, three) == pytest.approx(want)
    assert icc(one, three) < 0.3  # the judges differ by four points: consistent, not agreeing
    assert icc(one, one) == pytest.approx(1.0)
    assert icc([1, 1, 1], [1, 1, 1]) is None


def test_wilcoxon_is_the_normal_approximation_without_correction() -> None:
    # n = 8 distinct ranks, W- = 3 (ranks 1 and 2): z = (3 − 18) / sqrt(51) → p = 0.03572
    differences = [-0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert wilcoxon_p(differences) == pytest.approx(0.0357, abs=1e-4)
    assert wilcoxon_p([0.0, *differences, 1e-9]) == pytest.approx(0.0357, abs=1e-4)
    assert wilcoxon_p([0.0, 0.0, 0.0]) == 1.0
    assert wilcoxon_p([1.0, 2.0]) is None


def test_agreement_of_a_known_shift() -> None:
    reference = [5.0, 7.0, 9.0, 12.0, 20.0]
    got = agreement([v + d for v, d in zip(reference, (0, 1, -1, 2, 0), strict=True)], reference)
    assert got is not None
    assert (got.n, got.bias, got.error.mean) == (5, pytest.approx(0.4), pytest.approx(0.8))
    sd = stdev([0, 1, -1, 2, 0])
    assert got.sd_difference == pytest.approx(sd)
    assert got.limits == pytest.approx((0.4 - 1.96 * sd, 0.4 + 1.96 * sd))
    assert got.bias_ci == pytest.approx((0.4 - 2.776 * sd / 5**0.5, 0.4 + 2.776 * sd / 5**0.5), abs=1e-3)  # fmt: skip
    assert (got.reference.least, got.reference.most) == (5.0, 20.0)
    assert got.pearson_r == pytest.approx(np.corrcoef([5, 8, 8, 14, 20], reference)[0, 1])


def test_few_or_constant_values_leave_figures_undefined() -> None:
    assert agreement([], []) is None
    one = agreement([2.0], [1.0])
    assert one is not None
    assert (one.error.mean, one.sd_difference, one.limits, one.icc) == (1.0, None, None, None)
    assert pearson_r([1, 2, 3], [4, 4, 4]) is None
    with pytest.raises(ValueError, match="zip"):
        agreement([1.0], [])


def test_the_papers_table_is_consistent_with_itself() -> None:
    for part in TABLE2.values():
        for row in part.values():
            assert fmean(row.by_structure[s] for s in ORDER) == pytest.approx(row.mean, abs=0.0015)
    for row3 in TABLE3.values():
        (a, b), r = (row3.automatic[1], row3.reference[1]), row3.pearson_r
        assert (a * a + b * b - 2 * r * a * b) ** 0.5 == pytest.approx(row3.sd_difference, abs=0.01)
        bias = row3.automatic[0] - row3.reference[0]
        assert row3.limits[0] == pytest.approx(bias - 1.96 * row3.sd_difference, abs=0.03)
