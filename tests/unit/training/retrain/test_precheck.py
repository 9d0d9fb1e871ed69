"""What is said before the first step of a retraining, on cards and results whose answer is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from training.data.cases import ALL_STRUCTURES
from training.errors import NoSpaceLeft, RetrainRefused
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.metrics import Score
from training.fit.recipe import Recipe
from training.retrain import precheck
from training.retrain.precheck import (
    Findings,
    check_cases,
    check_disk,
    check_results,
    check_time,
    time_notes,
)


def cards(folder: Path, labelled: Mapping[str, Sequence[str]]) -> list[Path]:
    """Cards of cases without arrays, by id; each of its own patient."""
    for name, structures in labelled.items():
        values = {
            "patient_id": name,
            "labelled": list(structures),
            "digest": name,
        }
        (folder / f"{name}.json").write_text(json.dumps(values))
        (folder / f"{name}.npz").touch()
    return [folder / f"{name}.npz" for name in labelled if name.startswith("held")]


def result(name: str, *, found: bool = True, structures: Sequence[str] = ALL_STRUCTURES, **values: Any) -> CaseResult:  # fmt: skip
    measured = {
        "OC": (9.5, 10.0),
        "DAA": (16.0, 15.0),
        "DIVC": (20.0, 20.0),
        "PI": (1.0, 1.0),
        **values,
    }
    pairs = {k: MeasuredPair(*v, "labels") for k, v in measured.items() if v is not None}
    scores = dict.fromkeys(structures, Score("scored", 0.8, 1.0, 1.0))
    level, why = (1.0, "") if found else (None, "level_not_found")
    return CaseResult(name, name, "imported", "", True, level, 0.9, why, 0.1, scores, pairs)  # type: ignore[arg-type]


def test_nothing_is_said_of_enough_cases_of_everything(tmp_path: Path) -> None:
    held = cards(tmp_path, {**{f"held{n}": ALL_STRUCTURES for n in range(5)}, "a": ALL_STRUCTURES})
    recipe = Recipe(held_out=tuple(p.stem for p in held))
    assert check_cases(tmp_path, held, recipe) == Findings()
    assert check_results([result(p.stem) for p in held]) == Findings()


def test_each_fault_of_the_cases_has_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    spine = ["l4", "ivd", "l5", "dura", "n4", "pm", "aa"]
    held = cards(tmp_path, {"held0": spine, "a": [*ALL_STRUCTURES], "again": spine})
    found = check_cases(tmp_path, held, Recipe(held_out=("held0", "again")))
    assert found.refusals == (
        "ivc: no held-out case has it labelled, so it cannot be compared; hold one out too, e.g. `lumbar-train held-out … --case a`",
    )
    assert found.notes[0].startswith(
        "l4, ivd, l5, dura, n4, aa, pm: 1 to 1 held-out cases are too few"
    )
    assert found.notes[1].startswith("1 further cases of held-out patients")
    with pytest.raises(RetrainRefused, match="nothing was trained: ivc: no held-out case"):
        found.raise_if_refused()


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    held = cards(tmp_path, {"held0": ALL_STRUCTURES})
    (refusal,) = check_cases(tmp_path, held, Recipe(held_out=("held0",))).refusals
    assert "none is left to train on" in refusal


def test_structure_that_no_case_to_train_on_has_is_noted(tmp_path: Path) -> None:
    held = cards(
        tmp_path, {**{f"held{n}": ALL_STRUCTURES for n in range(5)}, "a": ALL_STRUCTURES[:-1]}
    )
    recipe = Recipe(held_out=tuple(p.stem for p in held))
    (note,) = check_cases(tmp_path, held, recipe).notes
    assert note.startswith(f"{ALL_STRUCTURES[-1]}: no case to train on has it labelled")


def test_level_missed_everywhere_is_refused_and_somewhere_is_noted() -> None:
    missed = [result(f"c{n}", found=False) for n in range(5)]
    assert (
        "the level in none of 5 held-out cases (level_not_found)"
        in check_results(missed).refusals[0]
    )
    found = check_results([*missed, result("d")])
    assert found.refusals == ()
    assert found.notes[0].startswith("c0, c1, c2 and 2 more: the level is missed")


def test_structure_out_of_the_window_of_every_held_out_case_is_refused() -> None:
    (refusal,) = check_results(
        [result("c", structures=[s for s in ALL_STRUCTURES if s != "n4"])]
    ).refusals
    assert refusal.startswith("n4: no held-out case shows it near the level")


def test_measurements_that_cannot_be_compared_are_noted() -> None:
    one = {"OC": None, "DAA": (None, 15.0), "DIVC": (20.0, None)}
    notes = check_results([result(f"c{n}", **one) for n in range(4)]).notes
    assert [note.partition(":")[0] for note in notes] == list(MAIN_MEASUREMENTS)
    assert [note.partition(": ")[2][:24] for note in notes] == [
        "no held-out case has a r",
        "the model in service mea",
        "no held-out case has a r",
        "4 held-out cases with a ",
    ]


def test_a_disk_without_room_is_said_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"x" * 1_000_000)
    check_disk(tmp_path / "new" / "out", tmp_path, 5)
    usage = shutil.disk_usage(tmp_path)._replace(free=29_000_000)
    monkeypatch.setattr(precheck.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpaceLeft, match="writes about 30 MB, 29 MB are free"):
        check_disk(tmp_path / "new" / "out", tmp_path, 5)


def test_time_limit_that_ends_the_training_early_is_noted() -> None:
    assert time_notes(0, 400, 3.0, 20.0) == ()
    (note,) = time_notes(100, 400, 6.0, 20.0)
    assert note.startswith(
        "400 steps of about 6.0 s take 40 minutes: the limit of 20 ends the training near step 300"
    )


def test_trial_step_changes_nothing_and_is_left_out_without_a_limit() -> None:
    network, asked = torch.nn.BatchNorm1d(2), []

    def gradients(other: torch.nn.Module, step: int) -> tuple[float, list[torch.Tensor]]:
        asked.append(step)
        other(torch.ones(3, 2))  # moves the statistics of the copy
        return 0.0, []

    training = SimpleNamespace(steps=10**9, gradients=gradients)
    trainer: Any = SimpleNamespace(training=training, network=network, step=7, norm_steps=10)
    for unlimited in (0.0, float("inf")):
        assert check_time(trainer, unlimited) == Findings()
    assert asked == []
    assert len(check_time(trainer, 0.001).notes) == 1
    assert asked == [7]
    assert torch.equal(network.running_mean, torch.zeros(2))
