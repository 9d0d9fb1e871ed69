"""Cross-validation: each fold trained to the end of the recipe, tested on patients it never saw.

As in the paper, the weights with the highest Dice on the fold's validation part are tested, or, where patients are
too few to keep some back, the last step's after training on that part as well (`CrossvalPlan.last`). `<out>/fold-k`
holds the run, its best weights, its bundle and, once it is finished, its results; `<out>/first` the pre-training run
shared by all folds, where the plan has one; `<out>/crossval.cases` the results and labels of single cases, so that an
interrupted test resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Final

from model.bundle.card import LEVEL_WEIGHTS
from model.bundle.load import LoadedModel, load_bundle
from training.data.cases import Case
from training.data.folds import Fold
from training.evaluate.baselines import Baselines
from training.evaluate.best_weights import BestWeights
from training.evaluate.case_results import CaseResult, write_json
from training.evaluate.crossval_level import KnownLevel, level_weights
from training.evaluate.crossval_plan import (
    FIRST,
    GIVEN,
    RESULTS,
    START,
    Cohort,
    CrossvalPlan,
    never_trained,
    with_all_of_their_patients,
)
from training.evaluate.crossval_results import CASES, read_results
from training.evaluate.evaluate import EvaluationSettings, evaluate_cases
from training.export import CardFields, export
from training.fit import segmentation as fitting
from training.fit.locks import hold_lock
from training.fit.recipe import Recipe
from training.fit.segmentation import Progress
from training.fit.validation import validate

BUNDLE: Final = "bundle"


def run_first(
    cohort: Cohort, out: Path, plan: CrossvalPlan, report: Callable[[str], None] = lambda _: None
) -> bool:
    """Pre-train on the cases in no fold as far as the time allows; True when it is finished, or not planned.

    Several processes may work on folds of their own: one trains what they share, the others
    wait. Nothing is validated, so the last step's weights are taken.

    Raises:
        UsageError: it was begun with another recipe or other patients in folds.
        CheckpointUnreadable: its checkpoint is damaged.
    """
    if plan.first is None:
        return True
    with hold_lock(out, FIRST, report):
        return (out / FIRST / BUNDLE).exists() or _first(cohort, out, plan, plan.first, report)


def _first(
    cohort: Cohort, out: Path, plan: CrossvalPlan, first: Recipe, report: Callable[[str], None]
) -> bool:
    recipe = replace(first, held_out=with_all_of_their_patients(cohort.paths, cohort))
    start = _start_of(out, plan)
    ready, _ = fitting.prepare_run(cohort.cases, out / FIRST, recipe, resume=True, start=start)

    def report_step(now: Progress) -> None:
        report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}")

    if not fitting.train_segmentation(
        ready, out / FIRST, max_minutes=plan.minutes, report=report_step
    ):
        return False
    _export(out / FIRST, cohort.shipped / LEVEL_WEIGHTS, out / FIRST / BUNDLE, FIRST)
    return True


def _start_of(out: Path, plan: CrossvalPlan) -> Path | None:
    return None if plan.start is None else out / START


def _export(run: Path, level: Path, bundle: Path, name: str) -> None:
    today = datetime.now(UTC).date().isoformat()
    export(run, [level], bundle, CardFields("0.0.0", today, name, {}))


def run_fold(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: CrossvalPlan,
    report: Callable[[str], None] = lambda _: None,
) -> list[CaseResult] | None:
    """Train one fold as far as the time allows; return its results when it is finished, else None.

    number: from 1. out: of the cross-validation, where `run_first` is finished. A finished fold is read, not
    trained again.

    Raises:
        UsageError: the fold was begun with another recipe.
        CheckpointUnreadable: a checkpoint or the results of a finished fold are damaged.
    """
    folder = out / f"fold-{number}"
    with hold_lock(out, folder.name, report):
        if (folder / RESULTS).exists():
            return read_results(folder / RESULTS)
        return _fold(number, fold, cohort, out, plan, report)


def _fold(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: CrossvalPlan,
    report: Callable[[str], None],
) -> list[CaseResult] | None:
    folder = out / f"fold-{number}"
    recipe = replace(plan.recipe, held_out=never_trained(fold, cohort, last=plan.last))
    start = _start_of(out, plan) if plan.first is None else out / FIRST / BUNDLE
    ready, _ = fitting.prepare_run(cohort.cases, folder, recipe, resume=True, start=start)
    validation = [] if plan.last else [cohort.paths[c] for c in fold.validation]
    best = BestWeights(ready, folder)

    def report_step(now: Progress) -> None:
        report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}")
        if now.dice:
            best.offer(fmean(now.dice.values()))

    if not fitting.train_segmentation(
        ready,
        folder,
        max_minutes=plan.minutes,
        validation=validation,
        objective=recipe.objective,
        report=report_step,
    ):
        return None
    if validation and ready.step not in {best.step, best.offered}:
        best.offer(fmean(validate(ready.average, validation).dice.values() or [0.0]))
    level = level_weights(fold, cohort, folder, plan, report)
    _export(best.run, level, folder / BUNDLE, f"fold-{number}")
    results = _test(number, fold, cohort, out, plan, report)
    values = {"step": best.step, "validation_dice": best.dice}
    write_json(folder / RESULTS, {**values, "cases": [r.to_dict() for r in results]})
    return results


def _test(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: CrossvalPlan,
    report: Callable[[str], None],
) -> list[CaseResult]:
    """Evaluate the fold's test part."""
    model = load_bundle(out / f"fold-{number}" / BUNDLE, engine=plan.engine, threads=plan.threads)

    def model_for(case: Case) -> LoadedModel:
        return replace(model, finder=KnownLevel(case)) if plan.level == GIVEN else model

    settings = EvaluationSettings(
        model=model_for,
        unseen=lambda _: True,
        baselines=Baselines([cohort.paths[c] for c in fold.train]),
        folder=out / CASES,
        level=plan.level,
        fold=number,
    )
    paths = [cohort.paths[c] for c in fold.test]
    return evaluate_cases(paths, settings, lambda result: report(f"tested {result.case_id}"))
