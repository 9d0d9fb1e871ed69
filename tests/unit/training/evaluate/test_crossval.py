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

from model.bundle.card import read_card, seal
from model.bundle.load_torch import load_network
from model.networks.level_unet import LevelArchitecture, LevelNet
from tests.support.retraining import tiny_bundle
from training.cli.app import app
from training.data.cases import list_cases, load_case, save_case
from training.data.folds import Fold
from training.data.persons import read_persons
from training.errors import UsageError
from training.evaluate import crossval_level
from training.evaluate.case_results import write_json
from training.evaluate.crossval import run_first, run_fold
from training.evaluate.crossval_plan import LEVEL, Cohort, CrossvalPlan
from training.fit.checkpoint import load
from training.fit.level import LevelRecipe
from training.fit.level_samples import CoarseCase
from training.fit.locks import hold_lock
from training.fit.recipe import Recipe

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


@pytest.mark.slow
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
    results = json.loads((out / "crossval.json").read_text())
    assert (results["folds"], results["finished"], results["level_by"]) == (2, 2, "case")
    assert {case["fold"] for case in results["cases"]} == {1, 2}
    assert all(case["unseen"] for case in results["cases"])
    assert (out / "fold-1" / "best" / "best.json").exists()
    other = CliRunner().invoke(app, [*call, "--level", "bundle"])
    assert isinstance(other.exception, UsageError)
    assert "level" in str(other.exception)
    page = ["report", "--results", str(out / "crossval.json"), "--cases", str(tiny_cases)]
    made = CliRunner().invoke(app, [*page, "--out", str(tmp_path / "report"), "--worst", "1"])
    assert made.exit_code == 0, made.output
    tested = sorted(case["case_id"] for case in results["cases"])
    assert tested == sorted(p.stem for p in tiny_cases.rglob("*.npz"))
    for number, fold in enumerate(json.loads((out / "folds.json").read_text())["folds"], start=1):
        held = json.loads((out / f"fold-{number}" / "recipe.json").read_text())["held_out"]
        assert held == sorted({*fold["test"], *fold["validation"]})


def test_a_folds_own_finder_never_sees_a_tested_patient_and_starts_from_a_shared_one(
    more_cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, set[str], bool]] = []

    def finder(
        cases: Sequence[CoarseCase],
        recipe: LevelRecipe,
        *,
        start: dict[str, torch.Tensor] | None,
        **_: object,
    ) -> LevelNet:
        assert recipe.members == 3
        seen.append((recipe.steps, {s.name for s in cases}, start is not None))
        return LevelNet(LevelArchitecture())

    monkeypatch.setattr("training.evaluate.crossval_level.train_level", finder)
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
    results = json.loads((out / "crossval.json").read_text())
    assert (results["finished"], results["bundle"]["steps"]) == (2, "2 on cases in no fold, then 2")
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


@pytest.mark.slow
def test_folds_are_fine_tuned_from_a_bundle_and_say_what_it_may_have_seen(
    more_cases: Path, tmp_path: Path
) -> None:
    bundle, still, out = tiny_bundle(tmp_path / "bundle"), tmp_path / "still.toml", tmp_path / "cv"
    plain = RECIPE.partition("[architecture]")[0]  # the architecture is then the bundle's
    still.write_text(f"learning_rate = 0.0\nema = 0.0\n{plain}", encoding="utf-8")
    call = ["crossval", "--cases", str(more_cases), "--out", str(out), "--folds", "2", "--recipe", str(still)]  # fmt: skip
    call += ["--tested", "phantom", "--engine", "torch", "--start"]
    done = CliRunner().invoke(app, [*call, str(bundle)])
    assert done.exit_code == 0, done.output
    persons = read_persons(list_cases(more_cases)).by_path
    patients = len({person for path, person in persons.items() if path.stem.startswith("phantom")})
    said = f"does not name {patients - 1} of {patients} tested patients as held out"
    assert said in done.output
    results = json.loads((out / "crossval.json").read_text())
    assert said in results["bundle"]["start"]
    assert (results["start"]["tested"], results["start"]["unseen"]) == (patients, 1)
    assert any(said in note for note in results["notes"])
    assert read_card(out / "start") == read_card(bundle)
    before = load_network(bundle).state_dict()
    for number in (1, 2):
        after = load(out / f"fold-{number}" / "checkpoint.pt")["average"]
        assert all(torch.equal(before[name], after[name]) for name in before)
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    card = read_card(other)
    (other / "card.json").write_text(json.dumps(seal({**card, "version": "9"}, other)))
    refused = CliRunner().invoke(app, [*call, str(other)])
    assert isinstance(refused.exception, UsageError)
    assert "folds of another plan (start)" in str(refused.exception)
    assert read_card(out / "start") == card


def test_what_another_process_trains_is_waited_for_and_read(tmp_path: Path) -> None:
    nothing = Cohort(tmp_path, {}, tmp_path)  # to train on it would fail
    plan = CrossvalPlan(Recipe(), first=Recipe(), level="fold", level_steps=1, level_first=1)
    fold = Fold((), (), ())
    here = tmp_path / "fold-1"
    shared: dict[str, tuple[Callable[[], object], Callable[[list[str]], object]]] = {
        "first": (
            (tmp_path / "first" / "bundle").mkdir,
            lambda reports: run_first(nothing, tmp_path, plan, reports.append),
        ),
        LEVEL: (
            (tmp_path / LEVEL).touch,
            lambda reports: crossval_level.level_weights(fold, nothing, here, plan, reports.append),
        ),
        "fold-1": (
            lambda: write_json(here / "figures.json", {"cases": []}),
            lambda reports: run_fold(1, fold, nothing, tmp_path, plan, reports.append),
        ),
    }
    (tmp_path / "first").mkdir()
    here.mkdir()
    (here / LEVEL).touch()
    with ThreadPoolExecutor(1) as other:
        for name, (finish, work) in shared.items():
            reports: list[str] = []
            with hold_lock(tmp_path, name, reports.append):
                waiting = other.submit(work, reports)
                while not reports:
                    assert not waiting.done() or waiting.result() is None
                    time.sleep(0.005)
                finish()
                assert not waiting.done()
            assert waiting.result(10) in (True, here / LEVEL, [])
            assert reports == [f"another process works on {name}; waiting for its end"]


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
    results = json.loads((out / "crossval.json").read_text())
    assert "none kept for validation" in results["bundle"]["steps"]
    chosen = CliRunner().invoke(app, call)
    assert isinstance(chosen.exception, UsageError)
    assert "(last)" in str(chosen.exception)
