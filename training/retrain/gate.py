"""The candidate gate: Dice and measurements of the same held-out cases, paired, decide on a proposal.

A candidate is proposed when every structure was compared, no structure's mean Dice is worse than that of
the model in service by more than the margin, none is significantly worse (paired Wilcoxon signed-rank
test, one-sided), at least one mean is better, and no measurement is worse (`measurement_gate`). The p values are
not corrected for the number of structures and measurements: that would make it harder to reject, and a wrong rejection
costs only another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Final, Literal

import numpy as np
from scipy.stats import wilcoxon

from dicomseg.structures import STRUCTURES, StructureId
from training.evaluate.case_results import CaseResult
from training.retrain.measurement_gate import (
    MARGIN_MM,
    REFERENCE_MM,
    REFUSED_SHARE,
    MeasurementComparison,
    compare_measurements,
    measurement_notes,
    measurement_reasons,
)

ALPHA: Final = 0.05
MARGIN: Final = 0.01
MIN_PAIRS: Final = 5
"""Pairs below which the test cannot fall under 0.05 whatever they are (2⁻⁴ = 0.0625)."""
Verdict = Literal["proposed", "rejected"]


@dataclass(frozen=True, slots=True)
class StructureComparison:
    """One structure: pairs, mean Dice of each model, mean difference (candidate − in service), p of "worse".

    Means are None without pairs. p is None with fewer than five pairs; 1 when nothing differs.
    """

    structure: StructureId
    pairs: int
    in_service: float | None
    candidate: float | None
    difference: float | None
    p_worse: float | None


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The verdict, its reasons, and the tables it rests on. margin: in Dice."""

    verdict: Verdict
    reasons: tuple[str, ...]
    rows: tuple[StructureComparison, ...]
    margin: float
    notes: tuple[str, ...] = ()
    measurements: tuple[MeasurementComparison, ...] = ()
    margin_mm: float = MARGIN_MM

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "rule": {
                "margin": self.margin,
                "margin_mm": self.margin_mm,
                "reference_mm": REFERENCE_MM,
                "refused_share": REFUSED_SHARE,
                "alpha": ALPHA,
                "test": "paired Wilcoxon, one-sided",
            },
            "table": [asdict(row) for row in self.rows],
            "measurements": [asdict(row) for row in self.measurements],
        }


def p_worse(differences: Sequence[float]) -> float | None:
    """Return the p of the one-sided Wilcoxon signed-rank test that the differences lie below zero.

    None with fewer than five pairs. Pairs that do not differ are left out, as Wilcoxon did; 1 when none does.
    """
    values = np.round(np.asarray(differences, np.float64), 9)  # a tie of the last bit is a tie
    if len(values) < MIN_PAIRS:
        return None
    values = values[values != 0.0]
    return float(wilcoxon(values, alternative="less").pvalue) if len(values) else 1.0


def _pairs(
    name: StructureId, old: Mapping[str, CaseResult], new: Mapping[str, CaseResult]
) -> tuple[list[float], list[float]]:
    paired = [c for c in old if c in new and name in old[c].scores and name in new[c].scores]
    return [old[c].scores[name].dice for c in paired], [new[c].scores[name].dice for c in paired]


def _row(name: StructureId, before: list[float], after: list[float]) -> StructureComparison:
    if not before:
        return StructureComparison(name, 0, None, None, None, None)
    differences = [b - a for a, b in zip(before, after, strict=True)]
    means = fmean(before), fmean(after)
    return StructureComparison(name, len(before), *means, means[1] - means[0], p_worse(differences))


def _reasons(rows: Sequence[StructureComparison], margin: float) -> list[str]:
    reasons = []
    for row in rows:
        if row.difference is None or row.in_service is None:
            reasons.append(f"{row.structure}: no held-out case shows it, so it was not compared")
        elif row.difference < -margin:
            reasons.append(
                f"{row.structure}: mean Dice {row.candidate:.4f} is worse than {row.in_service:.4f} by more than {margin:g}"
            )
        elif row.p_worse is not None and row.p_worse < ALPHA:
            reasons.append(
                f"{row.structure}: significantly worse by {-row.difference:.4f} (p = {row.p_worse:.4f})"
            )
    if not any((row.difference or 0.0) > 0 for row in rows):
        reasons.append("no structure's mean is better")
    return reasons


def _notes(rows: Sequence[StructureComparison]) -> list[str]:
    few = [row.structure for row in rows if row.pairs and row.p_worse is None]
    if not few:
        return []
    return [f"{', '.join(few)}: fewer than {MIN_PAIRS} cases, the margin alone decided"]


def decide(
    in_service: Sequence[CaseResult],
    candidate: Sequence[CaseResult],
    margin: float = MARGIN,
    margin_mm: float = MARGIN_MM,
) -> GateDecision:
    """Compare the results of two models on the same cases and decide; a case that only one of them has does not count."""
    old, new = ({r.case_id: r for r in results} for results in (in_service, candidate))
    rows = tuple(_row(s.id, *_pairs(s.id, old, new)) for s in STRUCTURES)
    measured = compare_measurements(old, new, p_worse)
    reasons = _reasons(rows, margin) + measurement_reasons(measured, margin_mm, ALPHA)
    verdict: Verdict = "rejected" if reasons else "proposed"
    notes = (*_notes(rows), *measurement_notes(measured, MIN_PAIRS))
    return GateDecision(verdict, tuple(reasons), rows, margin, notes, measured, margin_mm)
