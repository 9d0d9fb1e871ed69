"""The results of single cases as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from training.evaluate.case_results import CaseResult
from training.evaluate.summary import group_name

_CSV_HEAD: Final = (
    "case", "patient", "group", "fold", "kind", "name", "state", "dice", "precision", "recall", "hd95_mm",
    "assd_mm", "mean_shape_dice", "threshold_dice", "automatic_mm", "reference_mm", "reference_from",
)  # fmt: skip


def cases_csv(cases: Sequence[CaseResult]) -> str:
    """Return one line per case and structure or measurement, RFC 4180; empty cells where there is no value."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_CSV_HEAD)
    for case in cases:
        base = [case.case_id, case.patient_id, group_name(case), case.fold]
        for name, score in case.scores.items():
            values = [score.dice, score.precision, score.recall, score.hd95_mm, score.assd_mm]
            others = [case.baselines.get(b, {}).get(name) for b in ("mean_shape", "threshold")]
            writer.writerow([*base, "structure", name, score.state, *values, *others, *[""] * 3])
        for measurement, pair in case.measurements.items():
            lengths = [pair.automatic_mm, pair.reference_mm, pair.reference_from]
            state = pair.refusal or "measured"
            writer.writerow([*base, "measurement", measurement, state, *[""] * 7, *lengths])
    return out.getvalue()
