"""Folds by patient, and a tiny cohort cross-validated to the end, stopped once on the way."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model.networks.level_unet import LevelArchitecture, LevelNet
from training.cli.app import app
from training.cli.crossval import planned
from training.data import folds as folding
from training.data.cases import load_case, save_case
from training.data.folds import Fold
from training.errors import CaseUnreadable, FoldsError, SourceMissing, UsageError
from training.evaluate import crossval_level
from training.evaluate.best_weights import BestWeights
from training.evaluate.case_results import write_json
from training.evaluate.crossval import run_first, run_fold
from training.evaluate.crossval_plan import LEVEL, Cohort, CrossvalPlan, check_plan, never_trained
from training.fit.checkpoint import load
from training.fit.level import unfinished_file
from training.fit.level_samples import CoarseCase
from training.fit.locks import hold_lock
from training.fit.recipe import Recipe, read_recipe
from training.fit.segmentation import prepare_run

RECIPE = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = 2
warm_up = 1
norm_steps = 1
[architecture]
width = 4
decoder = 2
dilations = [1]
"""


@pytest.fixture
def more_cases(tiny_cases: Path, tmp_path: Path) -> Path:
    """Five phantoms of five patients, and two slabs."""
    cases = tmp_path / "cases"
    shutil.copytree(tiny_cases, cases)
    first = load_case(cases / "phantom" / "phantom-000001.npz")
    for number, patient in ((4, "PHANTOM-4"), (5, "PHANTOM-5")):
        more = replace(first, case_id=f"phantom-00000{number}", patient_id=patient)
        save_case(more, cases / "phantom")
    return cases


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


def test_a_tiny_cohort_is_cross_validated_and_resumed(tiny_cases: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "cv"
    recipe.write_text(RECIPE, encoding="utf-8")
    call = ["crossval", "--cases", str(tiny_cases), "--out", str(out), "--folds", "2"]
    call += ["--recipe", str(recipe), "--threads", "1", "--engine", "torch"]
    before = torch.get_num_threads()
    try:
        stopped = CliRunner().invoke(app, [*call, "--max-minutes", "0"])
        assert stopped.exit_code == 0, stopped.output
        assert json.loads((out / "crossval.json").read_text())["finished"] == 0
        one = CliRunner().invoke(app, [*call, "--only-fold", "2"])
        assert one.exit_code == 0, one.output
        assert json.loads((out / "crossval.json").read_text())["finished"] == 1
        whole = CliRunner().invoke(app, call)
        assert whole.exit_code == 0, whole.output
    finally:
        torch.set_num_threads(before)
    told = json.loads((out / "crossval.json").read_text())
    assert (told["folds"], told["finished"], told["level_by"]) == (2, 2, "case")
    assert {case["fold"] for case in told["cases"]} == {1, 2}
    assert all(case["unseen"] for case in told["cases"])
    assert (out / "fold-1" / "best" / "best.json").exists()
    other = CliRunner().invoke(app, [*call, "--level", "bundle"])
    assert isinstance(other.exception, UsageError)
    assert "level" in str(other.exception)
    page = ["report", "--results", str(out / "crossval.json"), "--cases", str(tiny_cases)]
    made = CliRunner().invoke(app, [*page, "--out", str(tmp_path / "report"), "--worst", "1"])
    assert made.exit_code == 0, made.output
    tested = sorted(case["case_id"] for case in told["cases"])
    assert tested == sorted(p.stem for p in tiny_cases.rglob("*.npz"))
    for number, fold in enumerate(json.loads((out / "folds.json").read_text())["folds"], start=1):
        held = json.loads((out / f"fold-{number}" / "recipe.json").read_text())["held_out"]
        assert held == sorted({*fold["test"], *fold["validation"]})


def test_further_cases_are_trained_on_unless_their_patient_is_tested(tmp_path: Path) -> None:
    told = {"s1": "p1", "s2": "p2", "s3": "p3", "s4": "p4", "extra": "p1", "phantom-1": "x"}
    for case, patient in told.items():
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


def test_the_best_weights_are_kept_and_forgotten_by_a_run_begun_again(
    tiny_cases: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    ready, _ = prepare_run(tiny_cases, tmp_path, read_recipe(path), resume=True)
    best = BestWeights(ready, tmp_path)
    assert best.run == tmp_path
    ready.step = 1
    best.offer(0.5)
    ready.step = 2
    best.offer(0.4)
    assert (best.step, best.run) == (1, tmp_path / "best")
    assert BestWeights(ready, tmp_path).dice == 0.5
    ready.step = 0
    assert BestWeights(ready, tmp_path).dice is None


def test_a_folds_own_finder_never_sees_a_tested_patient_and_goes_on_from_a_common_one(
    more_cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, set[str], bool]] = []

    def finder(
        cases: Sequence[CoarseCase],
        steps: int,
        members: int,
        *,
        start: dict[str, torch.Tensor] | None,
        **_: object,
    ) -> LevelNet:
        assert members == 3
        seen.append((steps, {s.name for s in cases}, start is not None))
        return LevelNet(LevelArchitecture())

    monkeypatch.setattr("training.evaluate.crossval_level.fit_levels", finder)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "cv"
    recipe.write_text(RECIPE, encoding="utf-8")
    call = ["crossval", "--cases", str(more_cases), "--out", str(out), "--folds", "2"]
    call += ["--recipe", str(recipe), "--engine", "torch"]
    call += ["--tested", "phantom", "--level", "fold", "--level-steps", "7", "--level-first", "9"]
    call += ["--level-members", "3"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "9 steps on cases in no fold, then 7 steps for each of 3 networks" in done.output
    strangers = {"spider-001", "spider-002"}
    folds = json.loads((out / "folds.json").read_text())["folds"]
    expected = [(7, {*f["train"], *f["validation"], *strangers}, True) for f in folds]
    assert seen == [(9, strangers, False), *expected]
    begun = CliRunner().invoke(app, [*call, "--no-resume"])
    assert begun.exit_code == 0, begun.output
    assert [steps for steps, _, _ in seen] == [9, 7, 7, 9, 7, 7]


def test_the_networks_of_all_folds_go_on_from_one_trained_on_cases_in_no_fold(
    more_cases: Path, tmp_path: Path
) -> None:
    first, still = tmp_path / "first.toml", tmp_path / "still.toml"
    first.write_text(RECIPE, encoding="utf-8")
    still.write_text(f"learning_rate = 0.0\nema = 0.0\n{RECIPE}", encoding="utf-8")
    out = tmp_path / "cv"
    call = ["crossval", "--cases", str(more_cases), "--out", str(out), "--folds", "2"]
    call += ["--recipe", str(still), "--first", str(first), "--engine", "torch"]
    call += ["--tested", "phantom"]
    stopped = CliRunner().invoke(app, [*call, "--max-minutes", "0"])
    assert "cases in no fold: time limit reached" in stopped.output
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    told = json.loads((out / "crossval.json").read_text())
    assert (told["finished"], told["bundle"]["steps"]) == (2, "2 on cases in no fold, then 2")
    held = json.loads((out / "first" / "recipe.json").read_text())["held_out"]
    folds = json.loads((out / "folds.json").read_text())["folds"]
    assert held == sorted(c for fold in folds for c in fold["test"])
    trained = load(out / "first" / "checkpoint.pt")
    begun = trained["average"]
    assert trained["step"] == 2
    for number in (1, 2):
        after = load(out / f"fold-{number}" / "checkpoint.pt")["average"]
        assert all(torch.equal(begun[name], after[name]) for name in begun)
    without = CliRunner().invoke(app, [a for a in call if a not in {"--first", str(first)}])
    assert isinstance(without.exception, UsageError)
    assert "(first)" in str(without.exception)


def test_what_another_process_trains_is_waited_for_and_read(tmp_path: Path) -> None:
    nothing = Cohort(tmp_path, {}, tmp_path)  # to train on it would fail
    plan = CrossvalPlan(Recipe(), first=Recipe(), level="fold", level_steps=1, level_first=1)
    fold = Fold((), (), ())
    here = tmp_path / "fold-1"
    shared: dict[str, tuple[Callable[[], object], Callable[[list[str]], object]]] = {
        "first": (
            (tmp_path / "first" / "bundle").mkdir,
            lambda told: run_first(nothing, tmp_path, plan, told.append),
        ),
        LEVEL: (
            (tmp_path / LEVEL).touch,
            lambda told: crossval_level.level_weights(fold, nothing, here, plan, told.append),
        ),
        "fold-1": (
            lambda: write_json(here / "figures.json", {"cases": []}),
            lambda told: run_fold(1, fold, nothing, tmp_path, plan, told.append),
        ),
    }
    (tmp_path / "first").mkdir()
    here.mkdir()
    (here / LEVEL).touch()
    with ThreadPoolExecutor(1) as other:
        for name, (finish, work) in shared.items():
            told: list[str] = []
            with hold_lock(tmp_path, name, told.append):
                waiting = other.submit(work, told)
                while not told:
                    assert not waiting.done() or waiting.result() is None
                    time.sleep(0.005)
                finish()
                assert not waiting.done()
            assert waiting.result(10) in (True, here / LEVEL, [])
            assert told == [f"another process works on {name}; waiting for its end"]


def test_folds_that_another_process_finished_meanwhile_are_in_the_table(
    tiny_cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cv"

    def elsewhere(*_: object) -> list[object]:
        for number in (1, 2):
            (out / f"fold-{number}").mkdir()
            write_json(out / f"fold-{number}" / "figures.json", {"cases": []})
        return []

    monkeypatch.setattr("training.evaluate.crossval.run_fold", elsewhere)
    call = ["crossval", "--cases", str(tiny_cases), "--out", str(out), "--folds", "2"]
    done = CliRunner().invoke(app, [*call, "--only-fold", "1"])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "crossval.json").read_text())["finished"] == 2


def test_without_validation_its_part_is_trained_on_and_the_last_step_is_tested(
    more_cases: Path, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "cv"
    recipe.write_text(RECIPE, encoding="utf-8")
    call = ["crossval", "--cases", str(more_cases), "--out", str(out), "--folds", "2"]
    call += ["--recipe", str(recipe), "--engine", "torch", "--tested", "phantom"]
    done = CliRunner().invoke(app, [*call, "--last"])
    assert done.exit_code == 0, done.output
    folds = json.loads((out / "folds.json").read_text())["folds"]
    for number, fold in enumerate(folds, start=1):
        held = json.loads((out / f"fold-{number}" / "recipe.json").read_text())["held_out"]
        assert held == sorted(fold["test"])
        assert fold["validation"]
        assert not (out / f"fold-{number}" / "best").exists()
        figures = json.loads((out / f"fold-{number}" / "figures.json").read_text())
        assert figures["validation_dice"] is None
    told = json.loads((out / "crossval.json").read_text())
    assert "none kept for validation" in told["bundle"]["steps"]
    chosen = CliRunner().invoke(app, call)
    assert isinstance(chosen.exception, UsageError)
    assert "(last)" in str(chosen.exception)


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


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        ("fold", (0, 0)),
        ("case", (0, 5)),
        ("bundle", (0, 5)),
        ("nowhere.pt", (0, 0)),
        ("case", (5, 0)),
    ],
)
def test_options_of_the_level_that_contradict_each_other_are_refused(
    level: str, steps: tuple[int, int]
) -> None:
    with pytest.raises(UsageError, match=level):
        planned(Recipe(), level, steps, "auto", 0)


def test_a_common_finder_without_cases_for_it_is_refused_before_anything_is_trained(
    tiny_cases: Path, tmp_path: Path
) -> None:
    call = ["crossval", "--cases", str(tiny_cases), "--out", str(tmp_path / "cv"), "--folds", "2"]
    done = CliRunner().invoke(app, [*call, "--level-steps", "7", "--level-first", "9"])
    assert isinstance(done.exception, UsageError)
    assert "every patient" in str(done.exception)
    assert not list((tmp_path / "cv").glob("fold-*"))


def test_fold_is_plain_data() -> None:
    assert replace(Fold(("a",), (), ()), train=("b",)).train == ("b",)
