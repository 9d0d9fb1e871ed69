"""Cross-validation: each fold trained to the end of the recipe, tested on patients it never saw.

As in the paper, the weights with the highest Dice on the fold's validation part are tested, or, where patients are
too few to keep some back, the last step's after training on that part as well (`Plan.last`). `<out>/fold-k`
holds the run, its best weights, its bundle and, once it is finished, its figures; `<out>/first` the run
that all folds go on from, where the plan has one; `<out>/crossval.cases` the figures and labels of single
cases, so that a test goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume
from model.bundle.load import LEVEL_WEIGHTS, LoadedModel, load
from model.networks.deeplab import DeepLabV3Plus3D
from training.data.cases import Case
from training.data.folds import Fold
from training.errors import CheckpointUnreadable
from training.evaluate.baselines import Baselines
from training.evaluate.case_results import CaseResult, write_json
from training.evaluate.crossval_plan import (
    FIGURES,
    FIRST,
    GIVEN,
    LEVEL,
    OWN,
    SHIPPED,
    Cohort,
    Plan,
    describe_level,
    in_no_fold,
    never_trained,
    with_all_of_their_patients,
    without,
)
from training.evaluate.evaluate import EvaluationSettings, evaluate_cases
from training.evaluate.summary import results_json
from training.export import CardFields, export, level_network
from training.fit import checkpoint
from training.fit import segmentation as fitting
from training.fit.level import fit_levels, save_level, unfinished
from training.fit.level_samples import load_coarse_cases
from training.fit.locks import alone
from training.fit.loop import Trainer
from training.fit.recipe import Recipe
from training.fit.segmentation import Progress

TOGETHER: Final = "crossval.json"
CASES: Final = "crossval.cases"
"""Beside `TOGETHER`, where `lumbar-train report` looks for labels."""
BUNDLE: Final = "bundle"
BEST: Final = "best"


@dataclass(frozen=True, slots=True, eq=False)
class KnownLevel:
    """Answers with the true level of one case."""

    case: Case

    def locate(self, volume: Volume) -> Level | NotInView:  # noqa: ARG002 - the protocol's argument
        """Return the case's level, certain."""
        return Level(self.case.level_centre_lps, self.case.level_normal, 1.0)


def run_first(
    cohort: Cohort, out: Path, plan: Plan, report: Callable[[str], None] = lambda _: None
) -> bool:
    """Train what all folds go on from as far as the time allows; True when it is finished, or not planned.

    On the cases in no fold. Several processes may work on folds of their own: one trains what they share, the others
    wait. Nothing is validated, so the last step's weights are taken.

    Raises:
        UsageError: it was begun with another recipe or other patients in folds.
        CheckpointUnreadable: its checkpoint is damaged.
    """
    if plan.first is None:
        return True
    with alone(out, FIRST, report):
        return (out / FIRST / BUNDLE).exists() or _first(cohort, out, plan, plan.first, report)


def _first(
    cohort: Cohort, out: Path, plan: Plan, first: Recipe, report: Callable[[str], None]
) -> bool:
    recipe = replace(first, held_out=with_all_of_their_patients(cohort.paths, cohort))
    ready, _ = fitting.prepare_run(cohort.cases, out / FIRST, recipe, resume=True)

    def told(now: Progress) -> None:
        report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}")

    if not fitting.train_segmentation(ready, out / FIRST, max_minutes=plan.minutes, report=told):
        return False
    _export(out / FIRST, cohort.shipped / LEVEL_WEIGHTS, out / FIRST / BUNDLE, FIRST)
    return True


def _export(run: Path, level: Path, bundle: Path, name: str) -> None:
    today = datetime.now(UTC).date().isoformat()
    export(run, [level], bundle, CardFields("0.0.0", today, name, {}))


def run_fold(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: Plan,
    report: Callable[[str], None] = lambda _: None,
) -> list[CaseResult] | None:
    """Train one fold as far as the time allows; its figures when it is finished, else None.

    number: counted from 1. out: of the whole cross-validation, where `run_first` is finished. A finished
    fold is read, not trained again.

    Raises:
        UsageError: the fold was begun with another recipe.
        CheckpointUnreadable: a checkpoint or the figures of a finished fold are damaged.
    """
    here = out / f"fold-{number}"
    with alone(out, here.name, report):
        if (here / FIGURES).exists():
            return read_figures(here / FIGURES)
        return _fold(number, fold, cohort, out, plan, report)


def _fold(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: Plan,
    report: Callable[[str], None],
) -> list[CaseResult] | None:
    here = out / f"fold-{number}"
    recipe = replace(plan.recipe, held_out=never_trained(fold, cohort, last=plan.last))
    start = None if plan.first is None else out / FIRST / BUNDLE
    ready, _ = fitting.prepare_run(cohort.cases, here, recipe, resume=True, start=start)
    validation = [] if plan.last else [cohort.paths[c] for c in fold.validation]
    best = Best(ready, here)

    def told(now: Progress) -> None:
        report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}")
        if now.dice:
            best.offer(fmean(now.dice.values()))

    if not fitting.train_segmentation(
        ready, here, max_minutes=plan.minutes, validation=validation, report=told
    ):
        return None
    if validation and ready.step != best.step:
        best.offer(fmean(fitting.quick_dice(ready.average, validation).values() or [0.0]))
    level = _level(fold, cohort, here, plan, report)
    _export(best.run, level, here / BUNDLE, f"fold-{number}")
    figures = _tested(number, fold, cohort, out, plan, report)
    values = {"step": best.step, "validation_dice": best.dice}
    write_json(here / FIGURES, {**values, "cases": [f.to_dict() for f in figures]})
    return figures


class Best:
    """The weights with the highest mean validation Dice so far, kept on disk.

    run: the folder to export: the best weights, or the run itself when nothing was validated.
    """

    def __init__(self, ready: Trainer[DeepLabV3Plus3D], out: Path) -> None:
        self._ready, self._out = ready, out
        self.step: int | None = None
        self.dice: float | None = None
        file = out / BEST / "best.json"
        if file.exists():
            told = json.loads(file.read_text(encoding="utf-8"))
            self.step, self.dice = told["step"], told["dice"]
            if self.step > ready.step:  # of a run that was begun again
                self.step = self.dice = None

    @property
    def run(self) -> Path:
        """Folder with `checkpoint.pt` and `recipe.json`."""
        return self._out if self.dice is None else self._out / BEST

    def offer(self, dice: float) -> None:
        """Keep the present weights if they are better; of equals the later ones."""
        if self.dice is not None and dice < self.dice:
            return
        folder = self._out / BEST
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / fitting.CHECKPOINT, self._ready.state())
        recipe = (self._out / fitting.RECIPE).read_text(encoding="utf-8")
        (folder / fitting.RECIPE).write_text(recipe, encoding="utf-8")
        self.step, self.dice = self._ready.step, dice
        write_json(folder / "best.json", {"step": self.step, "dice": dice})


def _tested(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: Plan,
    report: Callable[[str], None],
) -> list[CaseResult]:
    """Figures of the fold's test part."""
    model = load(out / f"fold-{number}" / BUNDLE, engine=plan.engine, threads=plan.threads)

    def used(case: Case) -> LoadedModel:
        return replace(model, finder=KnownLevel(case)) if plan.level == GIVEN else model

    settings = EvaluationSettings(
        model=used,
        unseen=lambda _: True,
        baselines=Baselines([cohort.paths[c] for c in fold.train]),
        folder=out / CASES,
        level=plan.level,
        fold=number,
    )
    paths = [cohort.paths[c] for c in fold.test]
    return evaluate_cases(paths, settings, lambda done: report(f"tested {done.case_id}"))


def _level(
    fold: Fold, cohort: Cohort, here: Path, plan: Plan, report: Callable[[str], None]
) -> Path:
    """Weights of the level finder that the fold's bundle gets.

    The last step's are tested, so the validation part chooses nothing here and is trained on.
    """
    if plan.level in {GIVEN, SHIPPED}:
        return cohort.shipped / LEVEL_WEIGHTS
    if plan.level != OWN:
        return Path(plan.level)
    start = None
    if plan.level_first:
        with alone(here.parent, LEVEL, report):
            start = _trained_level(
                here.parent / LEVEL, in_no_fold(cohort), plan.level_first, plan, None, report
            )
    cases = without(fold.test, cohort)
    return _trained_level(here / LEVEL, cases, plan.level_steps, plan, start, report)


def _trained_level(
    file: Path,
    cases: Sequence[Path],
    steps: int,
    plan: Plan,
    start: Path | None,
    report: Callable[[str], None],
) -> Path:
    """Train a finder into `file` if it is not there yet; one that was stopped goes on."""
    keep = unfinished(file)
    if not file.exists():
        network = fit_levels(
            load_coarse_cases(cases),
            steps,
            plan.level_members,
            seed=plan.recipe.seed,
            start=None if start is None else level_network(start)[0].state_dict(),
            mixed=plan.recipe.mixed,
            keep=keep,
            report=lambda step, loss, _: report(
                f"level step {step} of {plan.level_members * steps}, loss {loss:.4f}"
            ),
        )
        save_level(network, file)
    keep.unlink(missing_ok=True)
    return file


def finished(out: Path, number: int) -> list[CaseResult] | None:
    """Figures of a fold that is finished, else None."""
    file = out / f"fold-{number}" / FIGURES
    return read_figures(file) if file.exists() else None


def read_figures(file: Path) -> list[CaseResult]:
    """Figures of a finished fold.

    Raises:
        CheckpointUnreadable: the file is damaged.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return [CaseResult.from_dict(c) for c in told["cases"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointUnreadable(f"{file}: {error}; delete it to test the fold again") from error


def _steps(plan: Plan) -> str:
    before = f"{plan.first.steps} on cases in no fold, then " if plan.first else ""
    after = ", the last ones tested, none kept for validation" if plan.last else ""
    return f"{before}{plan.recipe.steps}{after}"


def together(folds: Sequence[Sequence[CaseResult] | None], plan: Plan) -> dict[str, Any]:
    """All finished folds as one file of figures, and what is still missing."""
    cases = [c for fold in folds if fold for c in fold]
    finished = sum(fold is not None for fold in folds)
    bundle = {
        "name": "cross-validation",
        "folds": f"{finished} of {len(folds)} finished",
        "steps": _steps(plan),
        "level": describe_level(plan),
    }
    told = results_json(cases, bundle, [f"Level {describe_level(plan)}."])
    counts = {"folds": len(folds), "finished": finished, "steps": plan.recipe.steps}
    return {**told, **counts, "level_by": plan.level}
