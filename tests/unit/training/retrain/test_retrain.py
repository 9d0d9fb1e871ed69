"""A retraining from cases to verdict, on tiny cases; scores come from a stub where the verdict matters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from model.bundle.card import ROOTS_WEIGHTS, read_card
from model.bundle.load_torch import load_network
from model.bundle.write import write_bundle
from model.errors import BundleError
from model.networks.level_unet import LevelArchitecture, LevelNet
from model.networks.roots_unet import RootsNet
from model.networks.sizes import RootsArchitecture
from tests.support.retraining import ARCHITECTURE, RECIPE, tiny_bundle
from training.cli import retrain as commands_retrain
from training.cli.app import app
from training.data import held_out
from training.data.cases import ALL_STRUCTURES
from training.errors import HeldOutError, NoSpaceLeft, RetrainRefused, UsageError
from training.evaluate.case_results import CaseResult
from training.evaluate.metrics import Score
from training.fit import checkpoint
from training.fit.curve import CURVE
from training.fit.recipe import Recipe
from training.fit.segmentation import CHECKPOINT
from training.retrain import precheck, retrain
from training.retrain.retrain import CANDIDATE, COMPARISON, RUN, Task, Unfinished

pytestmark = pytest.mark.slow  # none of them alone, all of them together

HELD = ["phantom-000001", "spider-001"]
AT = datetime(2030, 5, 6, 7, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def in_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "in-service")


@pytest.fixture
def task(tiny_cases: Path, in_service: Path, tmp_path: Path) -> Task:
    held_out.write_held_out(tmp_path / "fixed.json", tiny_cases, HELD)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return Task(
        tiny_cases, tmp_path / "fixed.json", in_service, tmp_path / "out", tmp_path / "recipe.toml"
    )


class Scores:
    """Every structure the same Dice: `before` for the model in service, `after` for any other."""

    def __init__(self, in_service: Path, before: float, after: float) -> None:
        self.in_service, self.before, self.after = in_service, before, after
        self.asked: list[tuple[list[str], str]] = []

    def __call__(self, paths: Sequence[Path], folder: Path) -> list[CaseResult]:
        digest = read_card(folder)["digest"]  # what is scored is a complete bundle
        self.asked.append(([p.stem for p in paths], digest))
        value = self.before if folder == self.in_service else self.after
        scores = dict.fromkeys(ALL_STRUCTURES, Score("scored", value, 1.0, 1.0))
        return [
            CaseResult(p.stem, p.stem, "phantom", "", True, 1.0, 0.9, "", 0.1, scores, {})
            for p in paths
        ]


def run(task: Task, scores: Scores, **options: Any) -> Any:
    return retrain.retrain(task, scores, now=lambda: AT, **options)


def test_candidate_keeps_the_roots_network_of_the_model_in_service(
    task: Task, tmp_path: Path
) -> None:
    card = read_card(task.bundle)
    level = LevelArchitecture(width=4)
    body = {k: card[k] for k in ("name", "version", "architecture", "level_architecture")}
    roots = RootsNet(RootsArchitecture(width=4, deep=(4, 8, 8)))
    network = load_network(task.bundle)
    serving = write_bundle(tmp_path / "serving", body, network, LevelNet(level), roots)
    run(replace(task, bundle=serving), Scores(serving, 0.70, 0.75))
    files = [f / ROOTS_WEIGHTS for f in (serving, task.out / CANDIDATE)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_proposal_names_the_corrected_cases_that_went_in(task: Task, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    shutil.copytree(task.cases, cases)
    held = HELD[0]
    for name in ("phantom-000002", "phantom-000003", held):
        card = cases / "phantom" / f"{name}.json"
        content = json.loads(card.read_text())
        content["card"]["correction"] = {"drawn": ["aa"], "changed": ["aa"]}
        card.write_text(json.dumps(content))
    found = run(replace(task, cases=cases), Scores(task.bundle, 0.70, 0.75))
    went_in = ["phantom-000002", "phantom-000003"]
    assert found.notes[-1] == "2 corrected cases went in: phantom-000002, phantom-000003"
    content = json.loads((task.out / COMPARISON).read_text())
    assert (content["corrections"], content["notes"][-1]) == (went_in, found.notes[-1])
    assert read_card(task.out / CANDIDATE)["corrections"] == went_in


def test_better_candidate_is_proposed_as_an_intact_bundle(task: Task) -> None:
    scores = Scores(task.bundle, 0.70, 0.75)
    found = run(task, scores)
    assert found.verdict == "proposed"
    card = read_card(task.out / CANDIDATE)
    assert card["version"] == "0.3.0+203005060708"
    assert card["name"] == "tiny"
    assert card["licence"] == "Apache-2.0"
    assert card["outline_shifts"] == {"ivc": -0.5}
    assert card["retrained_from"]["digest"] == read_card(task.bundle)["digest"]
    assert card["training"]["steps"] == 3
    assert card["evaluation"][0]["dice"]["l4"]["mean"] == 0.75
    content = json.loads((task.out / COMPARISON).read_text())
    assert content["verdict"] == "proposed"
    assert content["candidate"]["digest"] == card["digest"]
    assert content["cases"] == HELD
    assert (content["corrections"], card["corrections"]) == ([], [])
    assert len(content["table"]) == 8
    assert content["in_service"]["scores"][1]["dice"]["l4"] == 0.70
    assert [names for names, _ in scores.asked] == [HELD, HELD]
    assert not (task.out / "candidate.part").exists()


def test_training_begins_with_the_weights_in_service_unless_fresh(
    task: Task, tmp_path: Path
) -> None:
    def first_weights(fresh: bool) -> torch.Tensor:
        one = Task(task.cases, task.fixed, task.bundle, tmp_path / str(fresh), task.recipe, fresh=fresh)  # fmt: skip
        assert run(one, Scores(task.bundle, 0, 0), max_minutes=0) == Unfinished(0, 3)
        state = checkpoint.load(one.out / RUN / CHECKPOINT)["network"]
        return next(iter(state.values()))

    served = next(iter(load_network(task.bundle).state_dict().values()))
    assert torch.equal(first_weights(False), served)
    assert not torch.equal(first_weights(True), served)


def test_worse_candidate_is_rejected_and_still_there_to_look_at(task: Task) -> None:
    found = run(task, Scores(task.bundle, 0.70, 0.65))
    assert found.verdict == "rejected"
    assert len(found.reasons) == 9
    assert json.loads((task.out / COMPARISON).read_text())["reasons"] == list(found.reasons)
    assert read_card(task.out / CANDIDATE)


def test_time_limit_leaves_no_comparison_and_the_same_call_continues(task: Task) -> None:
    task.out.mkdir()
    (task.out / COMPARISON).write_text('{"verdict": "proposed"}')  # of an earlier run
    scores = Scores(task.bundle, 0.5, 0.6)
    assert run(task, scores, max_minutes=0) == Unfinished(0, 3)
    assert not (task.out / COMPARISON).exists()
    assert [names for names, _ in scores.asked] == [
        HELD
    ]  # the model in service, before the first step
    assert run(task, scores).verdict == "proposed"


def test_killed_while_evaluating_resumes_without_training_again(task: Task) -> None:
    scores = Scores(task.bundle, 0.5, 0.6)

    def killed(paths: Sequence[Path], folder: Path) -> list[CaseResult]:
        if folder != task.bundle:
            raise KeyboardInterrupt
        return scores(paths, folder)

    with pytest.raises(KeyboardInterrupt):
        retrain.retrain(task, killed)
    steps: list[int] = []
    found = run(task, Scores(task.bundle, 0.5, 0.6), report=lambda p, _: steps.append(p.step))
    assert found.verdict == "proposed"
    assert steps == []


def test_same_seed_gives_the_same_candidate_after_a_stop(task: Task, tmp_path: Path) -> None:
    other = Task(task.cases, task.fixed, task.bundle, tmp_path / "other", task.recipe)
    run(task, Scores(task.bundle, 0.5, 0.6))
    run(other, Scores(task.bundle, 0.5, 0.6), max_minutes=0)
    run(other, Scores(task.bundle, 0.5, 0.6))
    # The graphs differ by the names that OpenVINO gives to steps, which count on within a process.
    files = [read_card(t.out / CANDIDATE)["files"] for t in (task, other)]
    weights = [{k: v for k, v in f.items() if "graph" not in k} for f in files]
    assert weights[0] == weights[1]


def test_cases_the_model_in_service_may_have_seen_are_noted(task: Task) -> None:
    found = run(task, Scores(task.bundle, 0.5, 0.6))
    assert "1 of 2 cases, the first spider-001, are not named as held out" in found.notes[-1]


def test_no_case_of_a_held_out_patient_is_drawn(task: Task, tmp_path: Path) -> None:
    cases = shutil.copytree(task.cases, tmp_path / "cases")
    card = cases / "phantom" / "phantom-000002.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "patient_id": "phantom-000001"}))
    one = Task(cases, task.fixed, task.bundle, task.out, task.recipe)
    recipe = retrain.build_recipe(
        one, read_card(task.bundle), held_out.read_held_out(task.fixed, cases)
    )
    assert recipe.held_out == ("phantom-000001", "phantom-000002", "spider-001")


@pytest.mark.parametrize("text", [None, "steps = 2", "steps = 2\n[strength]\n"])
def test_architecture_is_that_in_service_unless_the_recipe_names_one(
    task: Task, tmp_path: Path, text: str | None
) -> None:
    recipe = None if text is None else tmp_path / "plain.toml"
    if recipe is not None:
        recipe.write_text(text or "")
    one = Task(task.cases, task.fixed, task.bundle, task.out, recipe)
    held = held_out.read_held_out(task.fixed, task.cases)
    found = retrain.build_recipe(one, read_card(task.bundle), held)
    assert found.architecture == ARCHITECTURE != Recipe().architecture
    with pytest.raises(UsageError, match="holds no network of this version"):
        retrain.build_recipe(one, {"architecture": {"name": "oracle"}}, held)
    named = retrain.build_recipe(task, {"architecture": {"name": "oracle"}}, held)
    assert named.architecture == ARCHITECTURE


# ---- the held-out set ----------------------------------------------------------------------------


def test_held_out_case_that_changed_or_is_gone_is_refused(task: Task, tmp_path: Path) -> None:
    cases = shutil.copytree(task.cases, tmp_path / "cases")
    shutil.copy(cases / "spider" / "spider-002.npz", cases / "spider" / "spider-001.npz")
    with pytest.raises(HeldOutError, match="spider-001 has changed since the set was fixed"):
        held_out.read_held_out(task.fixed, cases)
    (cases / "spider" / "spider-001.npz").unlink()
    with pytest.raises(HeldOutError, match="spider-001 is not below"):
        held_out.read_held_out(task.fixed, cases)


@pytest.mark.parametrize("text", ["", "[]", '{"cases": {}}', '{"schema": 1, "cases": {}}'])
def test_file_that_is_no_held_out_set_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(HeldOutError, match="lumbar-train held-out"):
        held_out.read_held_out(tmp_path / "f.json", tmp_path)


# ---- the command ---------------------------------------------------------------------------------


def _call(task: Task, *more: str) -> list[str]:
    return [
        "retrain", "--cases", str(task.cases), "--held-out", str(task.fixed), "--bundle", str(task.bundle),
        "--out", str(task.out), "--recipe", str(task.recipe), *more,
    ]  # fmt: skip


def test_command_says_time_over_then_rejected_with_code_3(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precheck, "check_results", lambda _: precheck.Findings())
    first = CliRunner().invoke(app, _call(task, "--max-minutes", "0"))
    assert (first.exit_code, first.output.splitlines()[-1]) == (
        3,
        "time limit reached at step 0 of 3; the same command continues",
    )
    second = CliRunner().invoke(app, _call(task))  # scored in truth: neither finds the level
    assert second.exit_code == 3, second.output
    assert "evaluated spider-001" in second.output
    content = json.loads((task.out / COMPARISON).read_text())
    one = content["candidate"]["scores"][0]
    assert one["why"]
    assert set(one["measurements"]) == {"OC", "DAA", "DIVC", "PI"}
    assert one["measurements"]["OC"]["automatic_mm"] is None
    assert one["measurements"]["OC"]["refusal"] == "level_not_found"
    assert [(p["case"], p["model"]) for p in content["pictures"]][:2] == [
        ("phantom-000001", "candidate"),
        ("phantom-000001", "in_service"),
    ]
    for picture in content["pictures"]:
        assert (task.out / picture["file"]).read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(x) for x in (task.out / RUN / CURVE).read_text().splitlines()]
    assert [x["step"] for x in lines] == [1, 3]
    assert "l4" in lines[-1]["dice"]
    assert "no structure's mean is better" in second.output
    assert f"rejected: {task.out / COMPARISON}" in second.output


def test_command_exits_0_when_it_proposes(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "evaluator", lambda *_: Scores(task.bundle, 0.5, 0.6))
    done = CliRunner().invoke(app, _call(task))
    assert done.exit_code == 0, done.output
    assert f"proposed: {task.out / COMPARISON}" in done.output


def test_held_out_command_fixes_the_named_cases(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    call = ["held-out", "--cases", str(task.cases), "--out", str(file)]
    done = CliRunner().invoke(app, [*call, "--bundle", str(task.bundle)])
    assert f"{file}: 1 cases held out" in done.output
    assert [p.stem for p in held_out.read_held_out(file, task.cases)] == ["phantom-000001"]


# ---- before the first step ----------------------------------------------------------------------


def test_level_found_nowhere_is_refused_before_the_first_step_with_code_2(task: Task) -> None:
    done = CliRunner().invoke(app, _call(task))  # the untrained finder finds no level
    assert isinstance(done.exception, RetrainRefused)
    assert done.exception.exit_code == 2
    assert "the level finder finds the level in none of 2 held-out cases" in str(done.exception)
    assert "would be rejected: the level finder" in done.output
    assert "step 1 of" not in done.output
    assert not (task.out / RUN / CHECKPOINT).exists()
    assert not (task.out / CANDIDATE).exists()


def test_structure_without_a_held_out_pair_is_refused_before_anything_is_evaluated(
    task: Task,
) -> None:
    held_out.write_held_out(task.fixed, task.cases, ["spider-001"])
    scores, lines = Scores(task.bundle, 0.5, 0.6), []  # type: ignore[var-annotated]
    with pytest.raises(RetrainRefused, match="nothing was trained: n4: no held-out case") as caught:
        run(task, scores, say=lines.append)
    assert [r.partition(":")[0] for r in caught.value.reasons] == ["n4", "aa", "pm", "ivc"]
    assert "--case phantom-00000" in caught.value.reasons[0]
    assert sum(line.startswith("would be rejected: ") for line in lines) == 4
    assert scores.asked == []
    assert not (task.out / RUN).exists()


def test_damaged_bundle_in_service_ends_it_before_the_first_step(
    task: Task, tmp_path: Path
) -> None:
    damaged = shutil.copytree(task.bundle, tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(BundleError):
        run(replace(task, bundle=damaged), Scores(damaged, 0.5, 0.6))
    assert not (task.out / RUN).exists()


# ---- a full disk ---------------------------------------------------------------------------------


def test_full_disk_is_one_line_and_the_run_resumes_when_there_is_room(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precheck, "check_results", lambda _: precheck.Findings())
    task.out.mkdir()
    run_folder = task.out / RUN
    run_folder.mkdir()
    full = run_folder / "checkpoint.tmp"
    full.symlink_to("/dev/full")  # a device that answers every write with ENOSPC
    done = CliRunner().invoke(app, _call(task))
    assert isinstance(done.exception, NoSpaceLeft), done.exception
    assert "no space left on the disk" in str(done.exception)
    assert done.exception.exit_code == 1
    full.unlink()
    assert run(task, Scores(task.bundle, 0.5, 0.6)).verdict == "proposed"


def test_other_faults_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="other"),
        commands_retrain._full_disk_in_one_line(tmp_path),
    ):
        raise RuntimeError("other")
    with pytest.raises(PermissionError), commands_retrain._full_disk_in_one_line(tmp_path):
        raise PermissionError(13, "no")
