"""The gate's part on OC, DAA, DIVC and PI: paired errors against the references decide, beside Dice.

A structure may gain Dice and a diameter lose accuracy. Per measurement, over the held-out cases that both models
measured and that have a reference, the median absolute error of the candidate must not exceed that of the model in
service by more than the margin, and must not be significantly larger (paired Wilcoxon, one-sided, as for Dice) by more
than what a reference itself is uncertain by. Refused values enter no median, so they are counted: a candidate must not
refuse, or miss with the level, more of the reference values than the model in service does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from training.evaluate.case_results import CaseResult, MeasuredPair

MARGIN_MM: Final = 0.3
"""Largest accepted rise of a median absolute error."""
REFERENCE_MM: Final = 0.1
"""What a reference from labels is uncertain by; a significant rise below it says nothing of the model."""
REFUSED_SHARE: Final = 0.05
"""Share of the references by which the candidate may refuse more: none of fewer than twenty, one of twenty."""

Test = Callable[[Sequence[float]], float | None]
"""p that the differences lie below zero; None with too few."""


@dataclass(frozen=True, slots=True)
class MeasurementComparison:
    """One measurement: cases that both models measured, their median absolute errors in mm, and refusals.

    references: cases with a reference value that both models were evaluated on. difference: candidate − in service;
    above zero is worse. Medians and difference are None without pairs; p_worse with fewer than five.
    """

    measurement: MeasurementName
    references: int
    pairs: int
    in_service_mm: float | None
    candidate_mm: float | None
    difference_mm: float | None
    p_worse: float | None
    refused_in_service: int
    refused_candidate: int


def _error_mm(pair: MeasuredPair) -> float | None:
    if pair.automatic_mm is None or pair.reference_mm is None:
        return None
    return abs(pair.automatic_mm - pair.reference_mm)


def _compare(
    name: MeasurementName,
    old: Mapping[str, CaseResult],
    new: Mapping[str, CaseResult],
    p_worse: Test,
) -> MeasurementComparison:
    both = [
        (old[c].measurements[name], new[c].measurements[name])
        for c in old
        if c in new and name in old[c].measurements and name in new[c].measurements
    ]
    known = [pair for pair in both if pair[0].reference_mm is not None]
    errors = [(_error_mm(a), _error_mm(b)) for a, b in known]
    refused = sum(a is None for a, _ in errors), sum(b is None for _, b in errors)
    paired = [(a, b) for a, b in errors if a is not None and b is not None]
    if not paired:
        return MeasurementComparison(name, len(known), 0, None, None, None, None, *refused)
    medians = median(a for a, _ in paired), median(b for _, b in paired)
    return MeasurementComparison(
        name,
        len(known),
        len(paired),
        *medians,
        medians[1] - medians[0],
        p_worse([a - b for a, b in paired]),
        *refused,
    )


def compare_measurements(
    in_service: Mapping[str, CaseResult], candidate: Mapping[str, CaseResult], p_worse: Test
) -> tuple[MeasurementComparison, ...]:
    """Return one row per measurement; results by case id."""
    return tuple(_compare(n, in_service, candidate, p_worse) for n in MAIN_MEASUREMENTS)


def measurement_reasons(
    rows: Sequence[MeasurementComparison], margin_mm: float, alpha: float
) -> list[str]:
    """Return why the measurements reject a candidate; nothing where they do not."""
    reasons = []
    for row in rows:
        if row.difference_mm is not None and row.difference_mm > margin_mm:
            reasons.append(
                f"{row.measurement}: median error {row.candidate_mm:.2f} mm is worse than"
                f" {row.in_service_mm:.2f} mm by more than {margin_mm:g} mm"
            )
        elif (
            row.difference_mm is not None
            and row.difference_mm > REFERENCE_MM
            and row.p_worse is not None
            and row.p_worse < alpha
        ):
            reasons.append(
                f"{row.measurement}: median error significantly worse by {row.difference_mm:.2f} mm"
                f" (p = {row.p_worse:.4f})"
            )
        if row.refused_candidate - row.refused_in_service > REFUSED_SHARE * row.references:
            reasons.append(
                f"{row.measurement}: refused in {row.refused_candidate} of {row.references} cases with a reference,"
                f" by the model in service in {row.refused_in_service}"
            )
    return reasons


def measurement_notes(rows: Sequence[MeasurementComparison], fewest: int) -> list[str]:
    """Return what the table cannot show: measurements that were not compared, or of few cases."""
    blind = [row.measurement for row in rows if not row.references]
    neither = [row.measurement for row in rows if row.references and not row.pairs]
    few = [row.measurement for row in rows if row.pairs and row.p_worse is None]
    notes = []
    if blind:
        notes.append(
            f"{', '.join(blind)}: no held-out case has a reference, so it was not compared"
        )
    if neither:
        notes.append(
            f"{', '.join(neither)}: no case that both models measured, so only refusals count"
        )
    if few:
        notes.append(
            f"{', '.join(few)}: fewer than {fewest} measured cases, the margin alone decided, and one case can move"
            " such a median"
        )
    return notes
