"""What is cross-validated and how: cohort, plan, and who is trained on where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from training.data.cases import list_cases
from training.data.folds import Fold
from training.data.persons import read_persons
from training.errors import UsageError
from training.evaluate.case_results import write_json
from training.fit.level import unfinished_file
from training.fit.recipe import Recipe

RESULTS: Final = "figures.json"
FIRST: Final = "first"
"""Directory of the pre-training run shared by all folds."""
LEVEL: Final = "level.pt"
"""A fold's finder; in the folder of the cross-validation the pre-trained finder shared by all folds."""
START: Final = "start"
"""Copy of the bundle that every fold starts from, or the pre-training where there is one."""
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
class Start:
    """The bundle that the folds are fine-tuned from, and how many of the tested patients its card names as held out."""

    name: str
    version: str
    digest: str
    tested: int
    unseen: int

    @property
    def origin(self) -> dict[str, str]:
        """What must be the same in all folds."""
        return {"name": self.name, "version": self.version, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class CrossvalPlan:
    """How folds are trained and tested.

    level: source of the level in the test: "fold", a finder that each fold trains in `level_steps` on
    everything but its test patients; "bundle", the shipped finder; a file of a finder's weights; or "case",
    the true level, so that the scores are of the segmentation alone.
    """

    recipe: Recipe
    first: Recipe | None = None
    """Recipe of the pre-training on the cases in no fold, shared by all folds."""
    level: str = GIVEN
    level_steps: int = 0
    level_first: int = 0
    """Steps of the finder's pre-training on the cases in no fold, shared by all folds."""
    level_members: int = 1
    """Networks of each finder, trained separately with so many steps each."""
    last: bool = False
    """Nothing is chosen: the last step's weights are tested, and the validation part is trained on as well."""
    start: Start | None = None
    """Bundle whose weights each fold, or the pre-training before them, begins with; its copy is `START`."""
    minutes: float = float("inf")
    """For this call and fold."""
    engine: str = "auto"
    """Of the test."""
    threads: int = 0


def never_trained(fold: Fold, cohort: Cohort, *, last: bool = False) -> tuple[str, ...]:
    """Return the ids of the fold's test and, unless `last`, validation cases and of all further cases of these patients."""
    return with_all_of_their_patients({*fold.test, *(() if last else fold.validation)}, cohort)


def with_all_of_their_patients(cases: Collection[str], cohort: Cohort) -> tuple[str, ...]:
    """Return these cases in folds, and the further ones of the same patients, by id."""
    paths = {p.stem: p for p in list_cases(cohort.cases)} | dict(cohort.paths)
    persons = read_persons(list(paths.values())).by_path
    theirs = {persons[cohort.paths[c]] for c in cases}
    others = {n for n, p in paths.items() if n not in cohort.paths and persons[p] in theirs}
    return tuple(sorted({*cases} | others))


def in_no_fold(cohort: Cohort) -> list[Path]:
    """Return the cases whose patients are in no fold."""
    return without(cohort.paths, cohort)


def without(cases: Collection[str], cohort: Cohort) -> list[Path]:
    """Return all cases of the cohort but those of these cases' patients."""
    held = with_all_of_their_patients(cases, cohort)
    return [p for p in list_cases(cohort.cases) if p.stem not in held]


def with_minutes(plan: CrossvalPlan, minutes: float) -> CrossvalPlan:
    """Return the same plan for so many minutes."""
    return replace(plan, minutes=minutes)


def _values(plan: CrossvalPlan) -> dict[str, Any]:
    """Return what must be the same in all folds, as JSON reads it back."""
    values = {
        "recipe": plan.recipe.to_dict(),
        "first": None if plan.first is None else plan.first.to_dict(),
        "level": plan.level,
        "level_steps": plan.level_steps,
        "level_first": plan.level_first,
        "level_members": plan.level_members,
        "last": plan.last,
        "start": None if plan.start is None else plan.start.origin,
    }
    return dict(json.loads(json.dumps(values)))


NOTHING_FIRST: Final = {
    "first": None,
    "level_first": 0,
    "level_members": 1,
    "last": False,
    "start": None,
}
"""What a stored plan means that does not name these."""


def check_plan(out: Path, plan: CrossvalPlan, *, resume: bool, only: int | None = None) -> None:
    """Make sure that a cross-validation to resume has the same plan; remove one that is not resumed.

    Folds of another recipe or source of the level must not share a table. only: the fold to begin again.

    Raises:
        UsageError: `out` holds folds of another plan.
    """
    values = _values(plan)
    file = out / "plan.json"
    if not resume:
        for folder in out.glob("fold-*" if only is None else f"fold-{only}"):
            shutil.rmtree(folder)
        if only is None:
            (out / LEVEL).unlink(missing_ok=True)
            unfinished_file(out / LEVEL).unlink(missing_ok=True)
            shutil.rmtree(out / FIRST, ignore_errors=True)
    elif file.exists() or list(out.glob(f"fold-*/{RESULTS}")):
        stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        stored = {**NOTHING_FIRST, **stored}
        other = sorted(k for k in values if stored.get(k) != values[k])
        if other:
            raise UsageError(
                f"{out} holds folds of another plan ({', '.join(other)}); use --no-resume or another --out"
            )
    if only is not None and not resume and file.exists():
        check_plan(out, plan, resume=True)
    write_json(file, values)


def describe_start(start: Start) -> str:
    """Return what the folds were fine-tuned from, and what that means for the figures, for people."""
    what = f"fine-tuned from {start.name} {start.version} ({start.digest[:12]})"
    doubtful = start.tested - start.unseen
    if not doubtful:
        return f"{what}, whose card names all {start.tested} tested patients as held out"
    return (
        f"{what}, whose card does not name {doubtful} of {start.tested} tested patients as held out: it may have been"
        " trained on them, and then the figures are optimistic"
    )


def _level_steps(plan: CrossvalPlan) -> str:
    before = f"{plan.level_first} steps on cases in no fold, then " if plan.level_first else ""
    each = f" for each of {plan.level_members} networks" if plan.level_members > 1 else ""
    return f"{before}{plan.level_steps} steps{each}"


def describe_level(plan: CrossvalPlan) -> str:
    """Return how the level was found, for people."""
    return {
        GIVEN: "given by the case: scores of the segmentation alone",
        SHIPPED: "found by the shipped finder, which may have been trained on these patients",
        OWN: f"found by a finder of the same fold, {_level_steps(plan)}",
    }.get(plan.level, f"found by the weights {Path(plan.level).name}")
