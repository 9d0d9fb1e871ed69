"""Cross-validation: each fold trained to the end of the recipe, tested on patients it never saw.

As in the paper, the weights with the highest Dice on the fold's validation part are tested. `<out>/fold-k`
holds the run, its best weights, its bundle and, once it is finished, its figures; `<out>/crossval.cases`
the figures and labels of single cases, so that a test goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume
from model.bundle import LEVEL_WEIGHTS, LoadedModel, load
from training import checkpoint
from training import fit as fitting
from training.baselines import Baselines
from training.cases import Case
from training.errors import CheckpointUnreadable, OptionsRefused
from training.export import CardFields, export, level_network
from training.figures import CaseFigures, Task, evaluated, write_json
from training.folds import Fold, patient_of
from training.level_fit import fit_level, save_level, smalls_of
from training.recipe import Recipe
from training.summary import figures_json

FIGURES: Final = "figures.json"
TOGETHER: Final = "crossval.json"
CASES: Final = "crossval.cases"
"""Beside `TOGETHER`, where `lumbar-train report` looks for labels."""
LEVEL: Final = "level.pt"
"""A fold's finder; in the folder of the whole cross-validation the one that all folds go on from."""
BUNDLE: Final = "bundle"
BEST: Final = "best"
GIVEN: Final = "case"
SHIPPED: Final = "bundle"
OWN: Final = "fold"


@dataclass(frozen=True, slots=True)
class Cohort:
    """What is cross-validated.

    cases: folder that is trained on. paths: the cases in folds by id; every other case below `cases` is
    trained on in each fold, unless its patient is tested there. shipped: bundle of the level finder.
    """

    cases: Path
    paths: Mapping[str, Path]
    shipped: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How folds are trained and tested.

    level: who finds it in the test: "fold", a finder that each fold trains in `level_steps` on everything
    but its test patients; "bundle", the shipped finder; a file of a finder's weights; or "case", the true
    level is told and the scores are of the segmentation alone. level_first: steps of one finder on the
    cases in no fold, which the finders of all folds go on from. minutes: for this call and fold. engine:
    of the test.
    """

    recipe: Recipe
    level: str = GIVEN
    level_steps: int = 0
    level_first: int = 0
    minutes: float = float("inf")
    engine: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class KnownLevel:
    """Answers with the true level of one case."""

    case: Case

    def locate(self, volume: Volume) -> Level | NotInView:  # noqa: ARG002 - the protocol's argument
        """Return the case's level, certain."""
        return Level(self.case.level_centre_lps, self.case.level_normal, 1.0)


def run_fold(
    number: int,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: Plan,
    report: Callable[[str], None] = lambda _: None,
) -> list[CaseFigures] | None:
    """Train one fold as far as the time allows; its figures when it is finished, else None.

    number: counted from 1. out: of the whole cross-validation. A finished fold is read, not trained again.

    Raises:
        OptionsRefused: the fold was begun with another recipe.
        CheckpointUnreadable: a checkpoint or the figures of a finished fold are damaged.
    """
    here = out / f"fold-{number}"
    if (here / FIGURES).exists():
        return read_figures(here / FIGURES)
    recipe = replace(plan.recipe, held_out=never_trained(fold, cohort))
    ready, _ = fitting.prepare_fit(cohort.cases, here, recipe, resume=True)
    validation = [cohort.paths[c] for c in fold.validation]
    best = Best(ready, here)

    def told(now: fitting.Progress) -> None:
        report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}")
        if now.dice:
            best.offer(fmean(now.dice.values()))

    if not fitting.run(ready, here, max_minutes=plan.minutes, validation=validation, report=told):
        return None
    if validation and ready.step != best.step:
        best.offer(fmean(fitting.quick_dice(ready.average, validation).values() or [0.0]))
    level = _level(fold, cohort, here, plan, report)
    today = datetime.now(UTC).date().isoformat()
    export(best.run, level, here / BUNDLE, CardFields("0.0.0", today, f"fold-{number}", {}))
    figures = _tested(number, fold, cohort, out, plan, report)
    values = {"step": best.step, "validation_dice": best.dice}
    write_json(here / FIGURES, {**values, "cases": [f.to_dict() for f in figures]})
    return figures


def never_trained(fold: Fold, cohort: Cohort) -> tuple[str, ...]:
    """Ids of the fold's test and validation cases and of all further cases of these patients."""
    return _with_all_of_their_patients({*fold.test, *fold.validation}, cohort)


def _with_all_of_their_patients(cases: Collection[str], cohort: Cohort) -> tuple[str, ...]:
    """Return these cases in folds, and the further ones of the same patients, by id."""
    patients = {patient_of(cohort.paths[c]) for c in cases}
    others = (p for p in fitting.below(cohort.cases) if p.stem not in cohort.paths)
    return tuple(sorted({*cases} | {p.stem for p in others if patient_of(p) in patients}))


class Best:
    """The weights with the highest mean validation Dice so far, kept on disk.

    run: the folder to export: the best weights, or the run itself when nothing was validated.
    """

    def __init__(self, ready: fitting.Fit, out: Path) -> None:
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
) -> list[CaseFigures]:
    """Figures of the fold's test part."""
    model = load(out / f"fold-{number}" / BUNDLE, engine=plan.engine, threads=plan.threads)

    def used(case: Case) -> LoadedModel:
        return replace(model, finder=KnownLevel(case)) if plan.level == GIVEN else model

    task = Task(
        model=used,
        unseen=lambda _: True,
        baselines=Baselines([cohort.paths[c] for c in fold.train]),
        folder=out / CASES,
        level=plan.level,
        fold=number,
    )
    paths = [cohort.paths[c] for c in fold.test]
    return evaluated(paths, task, lambda done: report(f"tested {done.case_id}"))


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
        start = _trained_level(
            here.parent / LEVEL, in_no_fold(cohort), plan.level_first, plan, None, report
        )
    cases = _without(fold.test, cohort)
    return _trained_level(here / LEVEL, cases, plan.level_steps, plan, start, report)


def in_no_fold(cohort: Cohort) -> list[Path]:
    """Cases whose patients are in no fold."""
    return _without(cohort.paths, cohort)


def _without(cases: Collection[str], cohort: Cohort) -> list[Path]:
    """All cases of the cohort but those of these cases' patients."""
    held = _with_all_of_their_patients(cases, cohort)
    return [p for p in fitting.below(cohort.cases) if p.stem not in held]


def _trained_level(
    file: Path,
    cases: Sequence[Path],
    steps: int,
    plan: Plan,
    start: Path | None,
    report: Callable[[str], None],
) -> Path:
    """Train a finder into `file` if it is not there yet."""
    if not file.exists():
        network = fit_level(
            smalls_of(cases),
            steps,
            seed=plan.recipe.seed,
            start=None if start is None else level_network(start)[0].state_dict(),
            report=lambda step, loss, _: report(f"level step {step} of {steps}, loss {loss:.4f}"),
        )
        save_level(network, file)
    return file


def finished(out: Path, number: int) -> list[CaseFigures] | None:
    """Figures of a fold that is finished, else None."""
    file = out / f"fold-{number}" / FIGURES
    return read_figures(file) if file.exists() else None


def with_minutes(plan: Plan, minutes: float) -> Plan:
    """Return the same plan for so many minutes."""
    return replace(plan, minutes=minutes)


def check_plan(out: Path, plan: Plan, *, resume: bool, only: int | None = None) -> None:
    """Make sure that a cross-validation to go on with has the same plan; remove one not to go on with.

    Folds of another recipe or with another way to find the level must not stand in one table. only: the
    one fold to begin again.

    Raises:
        OptionsRefused: `out` holds folds of another plan.
    """
    values = {"recipe": plan.recipe.to_dict(), "level": plan.level, "level_steps": plan.level_steps}
    values["level_first"] = plan.level_first
    values = json.loads(json.dumps(values))
    file = out / "plan.json"
    if not resume:
        for folder in out.glob("fold-*" if only is None else f"fold-{only}"):
            shutil.rmtree(folder)
        if only is None:
            (out / LEVEL).unlink(missing_ok=True)
    elif file.exists() or list(out.glob(f"fold-*/{FIGURES}")):
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        other = sorted(k for k in values if before.get(k) != values[k])
        if other:
            raise OptionsRefused(
                f"{out} holds folds of another plan ({', '.join(other)}); use --no-resume or another --out"
            )
    if only is not None and not resume and file.exists():
        check_plan(out, plan, resume=True)
    write_json(file, values)


def read_figures(file: Path) -> list[CaseFigures]:
    """Figures of a finished fold.

    Raises:
        CheckpointUnreadable: the file is damaged.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return [CaseFigures.from_dict(c) for c in told["cases"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointUnreadable(f"{file}: {error}; delete it to test the fold again") from error


def _level_steps(plan: Plan) -> str:
    before = f"{plan.level_first} steps on cases in no fold, then " if plan.level_first else ""
    return f"{before}{plan.level_steps} steps"


def said_of(plan: Plan) -> str:
    """How the level was found, for people."""
    return {
        GIVEN: "given by the case: scores of the segmentation alone",
        SHIPPED: "found by the shipped finder, which may have been trained on these patients",
        OWN: f"found by a finder of the same fold, {_level_steps(plan)}",
    }.get(plan.level, f"found by the weights {Path(plan.level).name}")


def together(folds: Sequence[Sequence[CaseFigures] | None], plan: Plan) -> dict[str, Any]:
    """All finished folds as one file of figures, and what is still missing."""
    cases = [c for fold in folds if fold for c in fold]
    finished = sum(fold is not None for fold in folds)
    bundle = {
        "name": "cross-validation",
        "folds": f"{finished} of {len(folds)} finished",
        "steps": plan.recipe.steps,
        "level": said_of(plan),
    }
    told = figures_json(cases, bundle, [f"Level {said_of(plan)}."])
    counts = {"folds": len(folds), "finished": finished, "steps": plan.recipe.steps}
    return {**told, **counts, "level_by": plan.level}
