"""The results of a cross-validation: of one fold, and of all finished folds together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from training.errors import CheckpointUnreadable
from training.evaluate.case_results import CaseResult
from training.evaluate.crossval_plan import (
    RESULTS,
    CrossvalPlan,
    describe_level,
    describe_start,
)
from training.evaluate.results_file import results_json

COMBINED: Final = "crossval.json"
CASES: Final = "crossval.cases"
"""Beside `COMBINED`, where `lumbar-train report` reads labels."""


def finished_results(out: Path, number: int) -> list[CaseResult] | None:
    """Return the results of a fold if it is finished, else None."""
    file = out / f"fold-{number}" / RESULTS
    return read_results(file) if file.exists() else None


def read_results(file: Path) -> list[CaseResult]:
    """Read the results of a finished fold.

    Raises:
        CheckpointUnreadable: the file is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return [CaseResult.from_dict(c) for c in content["cases"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointUnreadable(f"{file}: {error}; delete it to test the fold again") from error


def _steps(plan: CrossvalPlan) -> str:
    before = f"{plan.first.steps} on cases in no fold, then " if plan.first else ""
    after = ", the last ones tested, none kept for validation" if plan.last else ""
    return f"{before}{plan.recipe.steps}{after}"


def combine(folds: Sequence[Sequence[CaseResult] | None], plan: CrossvalPlan) -> dict[str, Any]:
    """Return the results of all finished folds as JSON values, and how many folds are missing."""
    cases = [c for fold in folds if fold for c in fold]
    finished = sum(fold is not None for fold in folds)
    bundle = {
        "name": "cross-validation",
        "folds": f"{finished} of {len(folds)} finished",
        "steps": _steps(plan),
        "level": describe_level(plan),
    }
    notes = [f"Level {describe_level(plan)}."]
    if plan.start is not None:
        bundle["start"] = describe_start(plan.start)
        notes.append(f"Each fold was {describe_start(plan.start)}.")
    results = results_json(cases, bundle, notes)
    counts = {"folds": len(folds), "finished": finished, "steps": plan.recipe.steps}
    start = None if plan.start is None else asdict(plan.start)
    return {**results, **counts, "level_by": plan.level, "start": start}
