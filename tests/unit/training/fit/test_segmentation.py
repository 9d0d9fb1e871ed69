"""The training loop: resumed runs equal unbroken ones, held-out cases stay out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from tests.support.paths import ROOT
from training.data.held_out import split_cases
from training.errors import RecipeError, SourceMissing, UsageError
from training.fit import checkpoint
from training.fit import segmentation as fitting
from training.fit.cpu import kernels as cpu
from training.fit.curve import CURVE
from training.fit.loop import Step, Trainer, Training
from training.fit.loss import upsampled
from training.fit.recipe import Recipe, read_recipe
from training.fit.sampling import draw_sample
from training.fit.schedule import learning_rate
from training.fit.segmentation import (
    CHECKPOINT,
    Progress,
    Running,
    prepare_run,
    segmentation_trainer,
    train_segmentation,
)
from training.fit.validation import validate

TINY = Recipe(
    architecture=Architecture(width=4, decoder=2, dilations=(1, 2)),
    crops=((8, 16, 16),),
    narrow=(16, 16, 8),
    accumulate=1,
    steps=6,
    warm_up=2,
    norm_steps=4,
    held_out=("phantom-000003",),
)


@pytest.fixture(scope="module")
def cases(tiny_cases: Path) -> Path:
    return tiny_cases


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(cases: Path, recipe: Recipe = TINY) -> Trainer[DeepLabV3Plus3D]:
    phantoms, slabs, _ = split_cases(cases, recipe.held_out)
    return segmentation_trainer(recipe, phantoms, slabs)


def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(cases: Path, tmp_path: Path) -> None:
    whole = start(cases)
    assert train_segmentation(whole, tmp_path / "whole")

    first = start(cases)
    for _ in range(3):
        first.advance()
    checkpoint.save(tmp_path / "part" / CHECKPOINT, first.state())
    second = start(cases)
    second.restore(checkpoint.load(tmp_path / "part" / CHECKPOINT))
    assert train_segmentation(second, tmp_path / "part")

    assert second.step == whole.step == TINY.steps
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name


def test_time_over_ends_cleanly_with_a_checkpoint(cases: Path, tmp_path: Path) -> None:
    fit = start(cases)
    assert not train_segmentation(fit, tmp_path, max_minutes=0.0)
    assert checkpoint.load(tmp_path / CHECKPOINT)["step"] == 0


def test_held_out_cases_are_never_drawn(cases: Path) -> None:
    phantoms, slabs, held = split_cases(cases, TINY.held_out)
    assert [p.stem for p in held] == ["phantom-000003"]
    drawn = {draw_sample(TINY, phantoms, slabs, n)[0].case_id for n in range(60)}
    assert drawn == {"phantom-000001", "phantom-000002", "spider-001", "spider-002"}


def test_slabs_keep_their_own_width(cases: Path) -> None:
    phantoms, slabs, _ = split_cases(cases, TINY.held_out)
    widths = {
        sample.image.shape[4]
        for case, sample in (draw_sample(TINY, phantoms, slabs, n) for n in range(40))
        if case.source == "spider"
    }
    assert widths == {12}  # ten columns, rounded up to a multiple of four


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe(steps=100, warm_up=10, learning_rate=1.0)
    assert learning_rate(recipe, 0) == pytest.approx(0.1)
    assert learning_rate(recipe, 10) == pytest.approx(1.0)
    assert learning_rate(recipe, 55) == pytest.approx(0.5)
    assert learning_rate(recipe, 100) == pytest.approx(0.0)


def test_two_draws_a_step_are_averaged(cases: Path) -> None:
    one = start(cases, replace(TINY, accumulate=2))
    assert np.isfinite(one.advance())
    assert one.step == 1


def test_a_run_prepared_again_goes_on_where_it_stopped(cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first, held = prepare_run(cases, out, TINY, resume=True)
    assert [p.stem for p in held] == ["phantom-000003"]
    first.advance()
    checkpoint.save(out / CHECKPOINT, first.state())
    assert prepare_run(cases, out, TINY, resume=True)[0].step == 1
    assert prepare_run(cases, out, TINY, resume=False)[0].step == 0


def test_every_report_is_a_line_of_the_curve_and_the_last_step_is_validated(
    cases: Path, tmp_path: Path
) -> None:
    held = [cases / "phantom" / "phantom-000003.npz"]
    ready = start(cases)
    assert train_segmentation(ready, tmp_path, validation=held, objective=TINY.objective)
    first, last = [json.loads(x) for x in (tmp_path / CURVE).read_text().splitlines()]
    assert (first["step"], last["step"]) == (1, 6)
    assert "validation_loss" not in first
    seen = validate(ready.average, held, TINY.objective)
    assert last["validation_loss"] == pytest.approx(seen.loss, rel=1e-4)
    assert last["dice"] == pytest.approx(seen.dice, rel=1e-4)
    prepare_run(cases, tmp_path, TINY, resume=False)
    assert not (tmp_path / CURVE).exists()


def test_validation_changes_no_weight(cases: Path, tmp_path: Path) -> None:
    plain, watched = start(cases), start(cases)
    assert train_segmentation(plain, tmp_path / "plain")
    held = [cases / "phantom" / "phantom-000003.npz"]
    assert train_segmentation(watched, tmp_path / "watched", validation=held)
    pairs = zip(plain.network.state_dict().values(), watched.network.state_dict().values(), strict=True)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_is_not_resumed_with_another_recipe(cases: Path, tmp_path: Path) -> None:
    first, _ = prepare_run(cases, tmp_path, TINY, resume=True)
    checkpoint.save(tmp_path / CHECKPOINT, first.state())
    with pytest.raises(UsageError, match="held_out"):
        prepare_run(cases, tmp_path, replace(TINY, held_out=()), resume=True)


def test_a_folder_without_cases_and_an_unknown_held_out_case_are_refused(
    cases: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceMissing, match="lumbar-train prepare"):
        prepare_run(tmp_path / "none", tmp_path / "run", TINY, resume=True)
    with pytest.raises(SourceMissing, match="phantom-000099"):
        prepare_run(cases, tmp_path, replace(TINY, held_out=("phantom-000099",)), resume=True)


def test_an_unknown_key_of_a_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("stepz = 4\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="stepz"):
        read_recipe(path)


def test_progress_is_plain_data() -> None:
    assert Progress(1, 0.5, 1e-3, 2.0).dice is None


def test_a_run_begun_from_a_trained_network_keeps_its_statistics(
    cases: Path, tmp_path: Path
) -> None:
    trained = start(cases)
    for _ in range(TINY.norm_steps):
        trained.advance()
    phantoms, slabs, _ = split_cases(cases, TINY.held_out)
    before = {k: v.clone() for k, v in trained.network.state_dict().items() if "running" in k}
    again = segmentation_trainer(TINY, phantoms, slabs, trained.network)
    again.advance()
    for name, value in before.items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    restored = segmentation_trainer(TINY, phantoms, slabs)
    restored.restore(again.state())
    assert restored.norm_steps == 0


def test_statistics_move_in_the_first_steps_only(cases: Path) -> None:
    fit = start(cases)
    seen = []
    for _ in range(TINY.steps):
        fit.advance()
        seen.append(
            [v.clone() for k, v in fit.network.state_dict().items() if k.endswith("running_mean")]
        )
    same = [all(torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in pairwise(seen)]
    assert same == [False] * (TINY.norm_steps - 1) + [True] * (TINY.steps - TINY.norm_steps)


def test_steps_by_the_kernels_are_those_of_torch_and_draws_may_stand_side_by_side(
    cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cpu.load_kernels() is None:
        pytest.skip("needs a C compiler")
    recipe = replace(TINY, architecture=Architecture(width=8, decoder=2, dilations=(1,)), accumulate=2, norm_steps=0)  # fmt: skip

    def three_steps(*, suits: bool, threads: int) -> tuple[list[float], list[torch.Tensor]]:
        torch.set_num_threads(threads)
        with monkeypatch.context() as patched:
            if not suits:
                patched.setattr(fitting.kernels, "suits", lambda _: False)
            fit = start(cases, recipe)
            losses = [fit.advance() for _ in range(3)]
        return losses, list(fit.network.parameters())

    plain = three_steps(suits=False, threads=1)
    one = three_steps(suits=True, threads=1)
    two = three_steps(suits=True, threads=2)
    assert one[0] == pytest.approx(plain[0], rel=1e-3)
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    for a, b in zip(one[1], two[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("branch", ["plain", "mixed"])
def test_the_branch_of_a_gpu_takes_the_step_of_the_cpu(
    cases: Path, monkeypatch: pytest.MonkeyPatch, branch: str
) -> None:
    """By torch, in bfloat16 where the recipe says so and the device has it."""
    monkeypatch.setattr(fitting.kernels, "suits", lambda _: False)
    monkeypatch.setattr(fitting, "mixed_precision", lambda _: True)
    recipe = replace(TINY, accumulate=2, mixed=branch == "mixed")
    phantoms, slabs, _ = split_cases(cases, recipe.held_out)
    own = segmentation_trainer(replace(recipe, mixed=False), phantoms, slabs)
    other = segmentation_trainer(recipe, phantoms, slabs, running=Running("cpu"))
    losses = own.advance(), other.advance()
    if branch == "plain":
        assert losses[0] == losses[1]
        pairs = zip(own.network.parameters(), other.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    else:
        assert losses[0] != losses[1]
        assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_statistics_are_taken_again_at_the_end_where_the_recipe_says_so(cases: Path) -> None:
    recipe = replace(TINY, steps=2, norm_steps=2, norm_samples=2)
    trainers = [start(cases, replace(recipe, norm_samples=n)) for n in (0, 2)]
    for trainer in trainers:
        trainer.advance()
        trainer.advance()
    stale, fresh = (trainer.average for trainer in trainers)
    phantoms, slabs, _ = split_cases(cases, recipe.held_out)
    first = stale.stem[0][0]
    images = [draw_sample(recipe, phantoms, slabs, n)[1].image for n in range(2)]
    with torch.no_grad():
        means = torch.stack([first(image).mean((0, 2, 3, 4)) for image in images]).mean(0)
    torch.testing.assert_close(fresh.stem[0][1].running_mean, means, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(stale.stem[0][1].running_mean, means, atol=1e-5)
    assert all(
        torch.equal(a, b) for a, b in zip(stale.parameters(), fresh.parameters(), strict=True)
    )


def test_a_step_of_the_papers_recipe_at_full_size_fits_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the meta device, which has shapes and no numbers: network, upsampling, gradients, optimiser."""
    recipe = read_recipe(ROOT / "training/recipes/paper.toml")
    network, average = (DeepLabV3Plus3D(recipe.architecture).to("meta") for _ in range(2))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 0.1  # a mean over steps reads their number, which has no value here

    def gradients(trained: DeepLabV3Plus3D, _: int) -> Step:
        (shape,) = recipe.crops
        image = torch.empty(1, 1, *shape, device="meta")
        logits = upsampled(trained(image).float())
        assert logits.shape == (1, 9, *shape)
        loss = torch.log_softmax(logits, 1).mean()
        return 0.0, torch.autograd.grad(loss, list(trained.parameters()))

    training = Training(
        network, average, gradients, lambda step: {"lr": learning_rate(recipe, step)}, lambda _: 1.0,
        recipe.steps, weight_decay=0.0, clip=recipe.clip, norm_steps=recipe.norm_steps,
    )  # fmt: skip
    monkeypatch.setattr("training.fit.loop.move_towards", lambda *_: None)
    trainer = Trainer(training)
    trainer.advance()
    assert trainer.step == 1
    assert recipe.norm_samples > 0
