"""Divide patients into folds of training, validation and test; stored, and never with a patient in two parts.

The paper's proportions: of 50 patients 10 are tested, 8 of the rest choose, 32 are trained on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.data.cases import list_cases, read_card_value
from training.data.persons import read_persons
from training.errors import FoldsError, SourceMissing

SCHEMA: Final = 1
VALIDATION_SHARE: Final = 0.2
"""Of the patients that are not tested: 8 of 40."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Case ids of one fold; all cases of a patient are in the same part."""

    test: tuple[str, ...]
    validation: tuple[str, ...]
    train: tuple[str, ...]


def cases_of_source(cases: Path, source: str | None) -> dict[str, Path]:
    """Return the cases below a folder by id; only those of one source if it is named.

    Raises:
        SourceMissing: no such folder, or no case of this source in it.
        CaseUnreadable: a case without a readable card.
    """
    paths = {p.stem: p for p in list_cases(cases)}
    chosen = {n: p for n, p in paths.items() if source in {None, read_card_value(p, "source")}}
    if not chosen:
        raise SourceMissing(f"{cases}: no case{f' of {source}' if source else ''}; prepare some")
    return chosen


def draw_folds(paths: Sequence[Path], count: int, seed: int = 1) -> tuple[Fold, ...]:
    """Draw folds in which every case is tested once.

    Raises:
        FoldsError: fewer than two folds, or fewer than three patients in each.
        CaseUnreadable: a card without a patient.
    """
    cases: dict[str, list[str]] = defaultdict(list)
    for path, person in read_persons(paths).by_path.items():
        cases[person].append(path.stem)
    if count < 2 or len(cases) < count + 2:
        raise FoldsError(
            f"{len(cases)} patients make no {count} folds; at least 2 folds and 2 patients more than folds are needed"
        )
    order = sorted(cases)
    np.random.default_rng(seed).shuffle(order)
    folds = []
    for tested in (order[n::count] for n in range(count)):
        rest = [p for p in order if p not in tested]
        chosen = max(1, round(len(rest) * VALIDATION_SHARE))
        parts = (tested, rest[:chosen], rest[chosen:])
        folds.append(Fold(*(tuple(sorted(c for p in part for c in cases[p])) for part in parts)))
    return tuple(folds)


def check_folds(folds: Sequence[Fold], patients: Mapping[str, str]) -> None:
    """Refuse folds in which a patient is in two parts, or whose cases do not exist.

    patients: patient by case id.

    Raises:
        FoldsError: with the patient or the case named.
    """
    for number, fold in enumerate(folds, start=1):
        where: dict[str, str] = {}
        for part, ids in asdict(fold).items():
            for case in ids:
                if case not in patients:
                    raise FoldsError(f"fold {number}: case {case} is not there; draw new folds")
                before = where.setdefault(patients[case], part)
                if before != part:
                    raise FoldsError(
                        f"fold {number}: patient {patients[case]} is in {before} and in {part}; draw new folds"
                    )


def read_or_draw_folds(
    file: Path, paths: Sequence[Path], count: int, seed: int = 1
) -> tuple[Fold, ...]:
    """Read the folds of a file, or draw and write them if there is none; checked against the cases.

    Raises:
        FoldsError: the file is damaged, has another number of folds, or does not fit the cases.
    """
    patients = {path.stem: person for path, person in read_persons(paths).by_path.items()}
    if not file.exists():
        folds = draw_folds(paths, count, seed)
        write_folds(file, folds, seed)
        return folds
    folds = read_folds(file)
    if len(folds) != count:
        raise FoldsError(f"{file} holds {len(folds)} folds, not {count}")
    check_folds(folds, patients)
    missing = sorted(set(patients) - {c for f in folds for c in f.test})
    if missing:
        raise FoldsError(f"{file}: case {missing[0]} is in no fold; delete it to draw new folds")
    return folds


def write_folds(file: Path, folds: Sequence[Fold], seed: int) -> None:
    """Write folds for `read_folds`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "seed": seed, "folds": [asdict(f) for f in folds]}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_folds(file: Path) -> tuple[Fold, ...]:
    """Read the folds of a file.

    Raises:
        FoldsError: no such file, or a damaged one.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Fold(*(tuple(f[p]) for p in ("test", "validation", "train"))) for f in content["folds"])  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FoldsError(f"{file}: {error}; delete it to draw new folds") from error
