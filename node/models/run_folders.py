"""Trainings and cross-validations that were started manually, in the folder `[training] runs`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomseg.structures import STRUCTURES
from node.errors import RunFileUnreadable
from node.models.case_figures import CaseFigures, evaluated_cases, mean_and_sd
from node.models.curves import CURVE, Curve, read_curve
from node.models.run_files import count, folders_of, number, read_json

RECIPE: Final = "recipe.json"
FIGURES: Final = "figures.json"
MOST_FOLDS: Final = 20
MOST_RUNS: Final = 200
_FOLD: Final = re.compile(r"fold-([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class Run:
    """A training. steps: of its recipe, None where that cannot be read. faults: what cannot be read."""

    folder: Path
    curve: Curve
    steps: int | None
    faults: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """The last step that was reported."""
        return self.curve.points[-1].step if self.curve.points else 0


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold. cases: its test part, once it is finished. step: of the weights that were tested."""

    number: int
    run: Run
    finished: bool
    cases: tuple[CaseFigures, ...] = ()
    step: int | None = None
    validation_dice: float | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StructureScores:
    """One structure over the folds: (mean, SD) of Dice in each, None where no case counts; over all cases; their number."""

    structure: str
    folds: tuple[tuple[float, float] | None, ...]
    together: tuple[float, float] | None
    n: int


def read_run(folder: Path) -> Run:
    """Return a training as far as it can be read."""
    faults, curve, steps = [], Curve(()), None
    try:
        curve = read_curve(folder)
    except RunFileUnreadable as fault:
        faults.append(str(fault))
    try:
        steps = count(read_json(folder / RECIPE).get("steps"))
    except RunFileUnreadable as fault:
        faults.append(str(fault))
    return Run(folder, curve, steps, tuple(faults))


def read_folds(folder: Path) -> list[Fold]:
    """Return the folds of a cross-validation by number; none where the folder is none."""
    named = [(m, p) for p in folders_of(folder) if (m := _FOLD.fullmatch(p.name))]
    found = sorted((int(m[1]), p) for m, p in named)
    return [_fold(n, place) for n, place in found[:MOST_FOLDS]]


def _fold(number_of: int, folder: Path) -> Fold:
    run = read_run(folder)
    if not (folder / FIGURES).exists():
        return Fold(number_of, run, finished=False)
    try:
        content = read_json(folder / FIGURES)
    except RunFileUnreadable as fault:
        return Fold(number_of, run, finished=False, faults=(str(fault),))
    cases = evaluated_cases(content.get("cases"))
    faults = () if cases else (f"{FIGURES} holds no case",)
    step, dice = count(content.get("step")), number(content.get("validation_dice"))
    return Fold(number_of, run, True, cases, step, dice, faults)


def scores_by_structure(folds: Sequence[Fold]) -> list[StructureScores]:
    """Return Dice per structure and fold, and over the cases of all folds; structures without a case are left out."""
    rows = []
    for structure in STRUCTURES:
        parts = [[c.dice[structure.id] for c in f.cases if structure.id in c.dice] for f in folds]
        every = [value for part in parts for value in part]
        if every:
            each = tuple(mean_and_sd(part) for part in parts)
            rows.append(StructureScores(structure.id, each, mean_and_sd(every), len(every)))
    return rows


def run_folders(place: str) -> list[Path]:
    """Return the folders that hold a training or a cross-validation, by name. place: "" for none."""
    found = folders_of(Path(place)) if place else []
    return [p for p in found if is_crossval(p) or (p / CURVE).exists() or (p / RECIPE).exists()][:MOST_RUNS]  # fmt: skip


def is_crossval(folder: Path) -> bool:
    """Return whether a folder holds folds."""
    return any(_FOLD.fullmatch(p.name) for p in folders_of(folder))
