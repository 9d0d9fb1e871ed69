"""Agreement of automatic and reference measurements: the statistics of the paper, and the ICC.

Paper (Wang et al. 2023, §2.6): Wilcoxon signed-rank test and Pearson correlation by SPSS 25, Bland–Altman,
mean absolute error. Added: the intraclass correlation, because a test that finds no difference shows no
agreement. SPSS takes p from the normal approximation with tie correction and drops zero differences; so
does `wilcoxon_p`. Lengths in mm; standard deviations with n − 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

import numpy as np
from scipy import stats

Z95: Final = 1.96
DECIMALS: Final = 6
"""Differences are rounded to this before they are ranked: noise of the last bit must not break ties."""
MIN_PAIRS: Final = 3
"""Below this no correlation, test or intraclass correlation is given."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, standard deviation (None for one value), least and most, mm."""

    mean: float
    sd: float | None
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class MeasurementAgreement:
    """One measurement over n pairs, mm.

    error: of the absolute differences; its mean is the MAE. bias: mean of automatic − reference;
    sd_difference: their standard deviation. limits: bias ± 1.96 SD. bias_ci, lower_ci, upper_ci: 95 %
    confidence intervals of bias and limits (Bland & Altman 1986, t distribution). icc: ICC(2,1), two-way
    random effects, absolute agreement, single measurement (ICC(A,1) of McGraw and Wong). None where too
    few pairs, or values that do not vary, leave a figure undefined.
    """

    n: int
    automatic: Spread
    reference: Spread
    error: Spread
    bias: float
    sd_difference: float | None
    limits: tuple[float, float] | None
    bias_ci: tuple[float, float] | None
    lower_ci: tuple[float, float] | None
    upper_ci: tuple[float, float] | None
    pearson_r: float | None
    wilcoxon_p: float | None
    icc: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return mean, SD, minimum and maximum of at least one value."""
    sd = stdev(values) if len(values) > 1 else None
    return Spread(fmean(values), sd, min(values), max(values))


def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the Wilcoxon signed-rank test as SPSS gives it; 1 when nothing differs."""
    if len(differences) < MIN_PAIRS:
        return None
    values = np.round(np.asarray(differences, np.float64), DECIMALS)
    values = values[values != 0.0]
    if not len(values):
        return 1.0
    test = stats.wilcoxon(values, zero_method="wilcox", correction=False, method="asymptotic")
    return float(test.pvalue)


def pearson_r(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None with fewer than three pairs or a side that does not vary."""
    if len(a) < MIN_PAIRS or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def icc(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the ICC(2,1) of two raters: Shrout & Fleiss 1979, from the two-way analysis of variance.

    None with fewer than three pairs, or when no value differs from any other.
    """
    table = np.column_stack([a, b]).astype(np.float64)
    n, raters = table.shape
    if n < MIN_PAIRS:
        return None
    grand, cases, sides = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between = raters * float(((cases - grand) ** 2).sum()) / (n - 1)
    by_side = n * float(((sides - grand) ** 2).sum()) / (raters - 1)
    rest = table - cases[:, None] - sides[None, :] + grand
    error = float((rest**2).sum()) / ((n - 1) * (raters - 1))
    total = between + (raters - 1) * error + raters * (by_side - error) / n
    return None if total < 1e-12 else (between - error) / total


def _interval(middle: float, se: float, n: int) -> tuple[float, float]:
    reach = float(stats.t.ppf(0.975, n - 1)) * se
    return middle - reach, middle + reach


def agreement(
    automatic: Sequence[float], reference: Sequence[float]
) -> MeasurementAgreement | None:
    """Compare paired values in mm; None without a pair.

    Raises:
        ValueError: the two sequences differ in length.
    """
    differences = [a - r for a, r in zip(automatic, reference, strict=True)]
    n = len(differences)
    if n == 0:
        return None
    bias = fmean(differences)
    sd = stdev(differences) if n > 1 else None
    limits = bias_ci = lower_ci = upper_ci = None
    if sd is not None:
        limits = (bias - Z95 * sd, bias + Z95 * sd)
        bias_ci = _interval(bias, sd / math.sqrt(n), n)
        lower_ci, upper_ci = (_interval(end, sd * math.sqrt(3 / n), n) for end in limits)
    return MeasurementAgreement(
        n=n,
        automatic=spread(automatic),
        reference=spread(reference),
        error=spread([abs(d) for d in differences]),
        bias=bias,
        sd_difference=sd,
        limits=limits,
        bias_ci=bias_ci,
        lower_ci=lower_ci,
        upper_ci=upper_ci,
        pearson_r=pearson_r(automatic, reference),
        wilcoxon_p=wilcoxon_p(differences),
        icc=icc(automatic, reference),
    )
