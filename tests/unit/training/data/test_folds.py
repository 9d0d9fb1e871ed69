"""Folds by patient: drawn, stored, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.data import folds as folding
from training.data.folds import Fold
from training.errors import CaseUnreadable, FoldsError


def cards(folder: Path, patients: dict[str, str]) -> list[Path]:
    paths = []
    for case, patient in patients.items():
        (folder / f"{case}.json").write_text(json.dumps({"patient_id": patient}))
        paths.append(folder / f"{case}.npz")
    return paths


def test_every_case_is_tested_once_and_a_patient_stays_together(tmp_path: Path) -> None:
    patients = {f"c{n:02d}": f"p{n // 2:02d}" for n in range(50 * 2)}
    folds = folding.draw_folds(cards(tmp_path, patients), 5)
    assert sorted(c for f in folds for c in f.test) == sorted(patients)
    folding.check_folds(folds, patients)
    counts = [tuple(len(part) // 2 for part in (f.test, f.validation, f.train)) for f in folds]
    assert counts == [(10, 8, 32)] * 5  # the paper's, of 50 patients


def test_a_patient_in_two_parts_and_a_stranger_are_refused() -> None:
    patients = {"a": "p1", "b": "p1", "c": "p2", "d": "p3"}
    with pytest.raises(FoldsError, match="patient p1 is in test and in train"):
        folding.check_folds([Fold(("a",), ("c",), ("b", "d"))], patients)
    with pytest.raises(FoldsError, match="case z is not there"):
        folding.check_folds([Fold(("z",), ("c",), ("d",))], patients)


def test_stored_folds_are_kept_and_must_fit(tmp_path: Path) -> None:
    paths = cards(tmp_path, {f"c{n}": f"p{n}" for n in range(6)})
    file = tmp_path / "out" / "folds.json"
    first = folding.read_or_draw_folds(file, paths, 3)
    assert folding.read_or_draw_folds(file, paths, 3, seed=9) == first
    with pytest.raises(FoldsError, match="holds 3 folds, not 2"):
        folding.read_or_draw_folds(file, paths, 2)
    with pytest.raises(FoldsError, match="case c6 is in no fold"):
        folding.read_or_draw_folds(file, [*paths, *cards(tmp_path, {"c6": "p6"})], 3)
    file.write_text("{")
    with pytest.raises(FoldsError, match="delete it"):
        folding.read_or_draw_folds(file, paths, 3)


def test_too_few_patients_and_a_case_without_one_are_refused(tmp_path: Path) -> None:
    few = cards(tmp_path, {"a": "p", "b": "p", "c": "q"})
    with pytest.raises(FoldsError, match="2 patients"):
        folding.draw_folds(few, 2)
    with pytest.raises(CaseUnreadable, match="a names no patient"):
        folding.draw_folds(cards(tmp_path, {"a": ""}), 2)


def test_fold_is_plain_data() -> None:
    assert replace(Fold(("a",), (), ()), train=("b",)).train == ("b",)
