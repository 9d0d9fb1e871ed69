"""Who is trained on where, and whether a stored plan fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data import folds as folding
from training.data.folds import Fold
from training.errors import SourceMissing, UsageError
from training.evaluate.crossval_plan import LEVEL, Cohort, CrossvalPlan, check_plan, never_trained
from training.fit.level import unfinished_file
from training.fit.recipe import Recipe


def test_further_cases_are_trained_on_unless_their_patient_is_tested(tmp_path: Path) -> None:
    patients = {"s1": "p1", "s2": "p2", "s3": "p3", "s4": "p4", "extra": "p1", "phantom-1": "x"}
    for case, patient in patients.items():
        card = {"patient_id": patient, "source": "spider" if case[0] == "s" else "phantom"}
        (tmp_path / f"{case}.json").write_text(json.dumps(card), encoding="utf-8")
        (tmp_path / f"{case}.npz").touch()
    paths = folding.cases_of_source(tmp_path, "spider")
    assert sorted(paths) == ["s1", "s2", "s3", "s4"]
    cohort = Cohort(tmp_path, paths, tmp_path)
    fold = Fold(("s1",), ("s2",), ("s3", "s4"))
    assert never_trained(fold, cohort) == ("extra", "s1", "s2")
    with pytest.raises(SourceMissing, match="imported"):
        folding.cases_of_source(tmp_path, "imported")


def test_a_stored_plan_that_knows_nothing_of_a_first_network_is_one_without(tmp_path: Path) -> None:
    check_plan(tmp_path, CrossvalPlan(Recipe()), resume=True)
    file = tmp_path / "plan.json"
    values = json.loads(file.read_text())
    older = {k: v for k, v in values.items() if k not in {"first", "level_first"}}
    file.write_text(json.dumps(older), encoding="utf-8")
    check_plan(tmp_path, CrossvalPlan(Recipe()), resume=True)
    file.write_text(json.dumps(older), encoding="utf-8")
    with pytest.raises(UsageError, match="first"):
        check_plan(tmp_path, CrossvalPlan(Recipe(), first=Recipe()), resume=True)


def test_what_is_not_gone_on_with_is_removed_with_its_unfinished_finder(tmp_path: Path) -> None:
    """An unfinished finder of another plan would be refused, with the advice to give --no-resume."""
    check_plan(tmp_path, CrossvalPlan(Recipe()), resume=True)
    left = [tmp_path / LEVEL, unfinished_file(tmp_path / LEVEL), tmp_path / "fold-1" / LEVEL]
    left[2].parent.mkdir()
    for file in left:
        file.write_bytes(b"weights")
    check_plan(tmp_path, CrossvalPlan(Recipe(seed=9)), resume=False)
    assert not any(file.exists() for file in left)
