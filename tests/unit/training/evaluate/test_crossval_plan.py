"""Who is trained on where, and whether a stored plan fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.data import folds as folding
from training.data.folds import Fold
from training.errors import SourceMissing, UsageError
from training.evaluate.crossval_plan import (
    LEVEL,
    Cohort,
    CrossvalPlan,
    Start,
    check_plan,
    describe_start,
    never_trained,
)
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


START = Start("lumbar", "0.10.0", "c98f" * 16, 8, 3)


def test_folds_of_another_start_are_refused_and_those_of_none_too(tmp_path: Path) -> None:
    check_plan(tmp_path, CrossvalPlan(Recipe(), start=START), resume=True)
    stored = json.loads((tmp_path / "plan.json").read_text())["start"]
    assert stored == {"name": "lumbar", "version": "0.10.0", "digest": "c98f" * 16}
    check_plan(tmp_path, CrossvalPlan(Recipe(), start=START), resume=True)
    for other in (None, replace(START, digest="d" * 64)):
        with pytest.raises(UsageError, match=r"another plan \(start\)"):
            check_plan(tmp_path, CrossvalPlan(Recipe(), start=other), resume=True)


def test_a_start_that_may_have_seen_tested_patients_is_said_to_make_figures_optimistic() -> None:
    said = describe_start(START)
    assert said.startswith("fine-tuned from lumbar 0.10.0 (c98fc98fc98f)")
    assert "does not name 5 of 8 tested patients as held out" in said
    assert said.endswith("the figures are optimistic")
    assert describe_start(replace(START, unseen=8)).endswith(
        "names all 8 tested patients as held out"
    )
