"""Training of the level finder: where the bumps lie, what a negative is, warm starts."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from dicomseg.volume import build_affine
from model.bundle.card import LEVEL_WEIGHTS
from model.networks.disc_channels import ABOVE
from model.networks.level_unet import LevelArchitecture, LevelNet, LevelNets
from model.networks.sizes import HEAT_FACTOR
from training.cli.app import app
from training.data.cases import ALL_STRUCTURES, Case, save_case
from training.errors import CaseUnreadable, CheckpointUnreadable, SourceMissing, UsageError
from training.export import load_level_network
from training.fit import checkpoint
from training.fit.augment import SPACING_MM
from training.fit.cpu.kernels import has_bfloat16
from training.fit.cpu.split_convolution import split_convolutions
from training.fit.level import (
    LevelRecipe,
    errors_mm,
    initialise_level,
    level_loss,
    save_level,
    train_level,
)
from training.fit.level_samples import (
    FINE_MM,
    NEAR_MM,
    _squares,
    coarse_case,
    level_sample,
    load_coarse_cases,
    move_joint,
    unknown_discs,
)


def slab() -> Case:
    """A 130 mm high slab with three discs as dark plates."""
    shape = (160, 90, 24)
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (-9.0, -34.0, -64.0))
    image = np.random.default_rng(0).normal(100, 4, shape).astype(np.float32)
    centres = {"l5s1": 30, "l45": 74, "l34": 118, "t12l1": 150}
    places = {}
    for name, slice_number in centres.items():
        image[slice_number - 5 : slice_number + 6, 30:60] -= 70
        x, y, z = (float(v) for v in affine[:3, :3] @ [slice_number, 44.5, 11.5] + affine[:3, 3])
        places[name] = (x, y, z)
    labels = np.zeros(shape, np.uint8)
    return Case(
        "spider-900",
        "p",
        "spider",
        image,
        labels,
        affine,
        ALL_STRUCTURES,
        places["l45"],
        (0.0, 0.0, 1.0),
        places,
    )


def test_bumps_lie_on_the_discs_and_the_upper_ones_share_a_channel() -> None:
    case = coarse_case(slab())
    assert {channel for channel, _ in case.discs} == {0, 1, 2, ABOVE}
    seen = 0
    for seed in range(12):
        image, heat = level_sample(case, np.random.default_rng(seed))
        assert tuple(heat.shape[1:]) == tuple(
            -(-n // f) for n, f in zip(image.shape[1:], HEAT_FACTOR, strict=True)
        )
        if float(heat[1].max()) < 0.6:
            continue
        i, j, k = np.unravel_index(int(heat[1].argmax()), heat[1].shape)
        at = image[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, k]
        assert float(at.mean()) < float(image.mean())  # discs are dark here
        seen += 1
    assert seen >= 6


def test_of_a_disc_beside_the_slab_its_part_in_the_slab_counts() -> None:
    points = torch.stack(torch.meshgrid(*[torch.arange(0.0, 40.0, 2.0)] * 3, indexing="ij"), -1)
    middle, beside, far = (
        _squares(points, torch.tensor([20.0, 20.0, z])) for z in (20.0, 48.0, 60.0)
    )
    assert float(middle.min()) == 0.0
    assert float(beside.min()) == 0.0  # 10 mm beside the last column: seen in it
    assert int(beside.argmin()) == int(far.argmin())
    assert float(far.min()) == 22.0**2
    cut = _squares(points[:5], torch.tensor([20.0, 20.0, 20.0]))
    assert float(cut.min()) == 12.0**2  # beyond the end of the image is not beside it


def test_what_lies_below_a_joint_comes_from_further_back_and_is_turned_about_it() -> None:
    joint, above = np.array([40.0, 30.0, 9.0]), np.array([70.0, 30.0, 9.0])  # an upright spine
    points = torch.tensor([[70.0, 35.0, 2.0], [40.0, 30.0, 2.0], [10.0, 30.0, 2.0]])
    slipped = move_joint(points, joint, above, 6.0, 0.0)
    there = torch.tensor([[70.0, 35.0, 2.0], [40.0, 33.0, 2.0], [10.0, 36.0, 2.0]])
    assert torch.allclose(slipped, there, atol=1e-4)
    turned = move_joint(points, joint, above, 0.0, 90.0)
    assert torch.allclose(turned[:2], points[:2], atol=1e-4)
    assert torch.allclose(turned[2], torch.tensor([40.0, 0.0, 2.0]), atol=1e-4)
    leaning = move_joint(points, joint, np.array([61.0, 51.0, 9.0]), 6.0, 0.0)
    assert float((leaning[2, :2] - points[2, :2]) @ torch.tensor([1.0, 1.0])) == pytest.approx(
        0, abs=1e-4
    )


def test_the_bump_of_a_disc_that_gave_way_is_as_high_as_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = coarse_case(slab())

    def peaks(share: float, slip: float) -> list[float]:
        monkeypatch.setattr("training.fit.level_samples.JOINT_SHARE", share)
        monkeypatch.setattr("training.fit.level_samples.SLIP_MM", slip)
        drawn = [level_sample(case, np.random.default_rng(seed))[1] for seed in range(40)]
        return [float(heat[0].max()) for heat in drawn if float(heat[0].max()) > 0.3]

    still, slipping = peaks(0.0, 0.0), peaks(1.0, 12.0)
    assert len(slipping) > 10
    assert float(np.mean(slipping)) > 0.9 * float(np.mean(still))


def test_some_draws_hold_no_disc_at_all() -> None:
    case = coarse_case(slab())
    peaks = [float(level_sample(case, np.random.default_rng(seed))[1].max()) for seed in range(60)]
    assert 0 < sum(p == 0.0 for p in peaks) < 20


def test_a_wrong_name_costs_as_much_as_a_miss() -> None:
    heat = torch.zeros(1, 2, 3, 3, 3)
    heat[0, 0, 1, 1, 1] = 1.0
    right = torch.where(heat > 0, 12.0, -12.0)
    missed, renamed = right.clone(), right.clone()
    missed[0, 0, 1, 1, 1] = -12.0
    renamed[0, 1, 1, 1, 1] = 12.0
    assert float(level_loss(right, heat)) < 1e-6
    assert float(level_loss(renamed, heat)) == pytest.approx(
        float(level_loss(missed, heat)), rel=1e-3
    )


def test_a_warm_start_takes_what_fits_and_begins_with_a_silent_context() -> None:
    old = LevelNet(LevelArchitecture()).state_dict()
    del old["context.4.weight"]
    old["head.bias"] = torch.zeros(3)
    network = initialise_level(LevelNet(LevelArchitecture()), old)
    assert torch.equal(network.state_dict()["enter.0.weight"], old["enter.0.weight"])
    assert bool((network.state_dict()["context.4.weight"] == 0).all())


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    torch.set_num_threads(1)
    cases = [coarse_case(slab())]
    first, second = (
        train_level(cases, LevelRecipe(3, seed=4)),
        train_level(cases, LevelRecipe(3, seed=4)),
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    image, heat = level_sample(cases[0], np.random.default_rng(99))
    before, after = LevelNet(LevelArchitecture()), train_level(cases, LevelRecipe(12, seed=4))
    with torch.no_grad():
        assert level_loss(after(image[None]), heat[None]) < level_loss(
            before(image[None]), heat[None]
        )


@pytest.mark.parametrize("shape", [(1, 1, 17, 12, 5), (1, 1, 8, 9, 3), (2, 1, 16, 12, 6)])
def test_halves_of_an_image_have_the_same_answer_and_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    whole = LevelNet(LevelArchitecture(width=4)).double()
    halved = copy.deepcopy(whole)
    split_convolutions(halved)
    image = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    same = image.detach().clone().requires_grad_()
    expected, got = whole(image), halved(same)
    assert torch.allclose(got, expected, atol=1e-12)
    pull = torch.randn_like(expected)
    (expected * pull).sum().backward()
    (got * pull).sum().backward()
    assert image.grad is not None
    assert same.grad is not None
    assert torch.allclose(same.grad, image.grad, atol=1e-10)
    for ours, theirs in zip(halved.parameters(), whole.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-10)


def test_only_plain_convolutions_are_halved() -> None:
    kinds = [
        nn.Conv3d(2, 2, 3, padding=1, bias=False),
        nn.Conv3d(2, 2, 3, padding=1, stride=2),
        nn.Conv3d(2, 2, 3, padding=2, dilation=2),
        nn.Conv3d(2, 2, 1),
    ]
    for conv in kinds:
        split_convolutions(conv)
    assert ["forward" in vars(conv) for conv in kinds] == [True, False, False, False]
    biased = nn.Conv3d(3, 2, 3, padding=1)
    image = torch.randn(1, 3, 7, 5, 4)
    before = biased(image)
    split_convolutions(biased)
    assert torch.allclose(biased(image), before, atol=1e-5)


def test_members_begin_alike_learn_apart_and_are_gone_on_with(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    cases = [coarse_case(slab())]
    both = train_level(cases, LevelRecipe(2, 2, seed=4))
    assert isinstance(both, LevelNets)
    for n, member in enumerate(both.members):
        alone = train_level(cases, LevelRecipe(2, seed=4 + n))
        assert torch.equal(member.state_dict()["head.bias"], alone.state_dict()["head.bias"])
    save_level(both, tmp_path / "level.pt")
    back, architecture = load_level_network(tmp_path / "level.pt")
    assert architecture.members == 2
    further = train_level(cases, LevelRecipe(1, 2, seed=9), start=back.state_dict())
    expected = train_level(cases, LevelRecipe(1, seed=10), start=both.members[1].state_dict())
    found = further.state_dict()["members.1.head.bias"]
    assert torch.equal(found, expected.state_dict()["head.bias"])
    with pytest.raises(UsageError, match="--members 2"):
        train_level(cases, LevelRecipe(1, 1), start=back.state_dict())


class Stopped(Exception):
    """Represents a kill."""


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_stopped_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Stopped in the first network, between both, in the second one, and before the result was saved."""
    torch.set_num_threads(1)
    monkeypatch.setattr("training.fit.level.EVERY", 1)
    monkeypatch.setattr("training.fit.level.SAVE_EVERY_S", 0.0)
    cases, keep, steps = [coarse_case(slab())], tmp_path / "level.unfinished", []
    whole = train_level(cases, LevelRecipe(2, 2, seed=4))

    def stop(step: int, _loss: float) -> None:
        steps.append(step)
        if len(steps) == at:
            raise Stopped

    with contextlib.suppress(Stopped):
        train_level(cases, LevelRecipe(2, 2, seed=4), keep=keep, report=stop)
    back = train_level(
        cases, LevelRecipe(2, 2, seed=4), keep=keep, report=lambda n, _: steps.append(n)
    )
    assert steps == [1, 2, 3, 4]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name


def test_an_unfinished_file_of_version_0_1_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the settings by another key and holds a scheduler."""
    monkeypatch.setattr("training.fit.level.EVERY", 1)
    monkeypatch.setattr("training.fit.level.SAVE_EVERY_S", 0.0)
    cases, keep, recipe = [coarse_case(slab())], tmp_path / "level.unfinished", LevelRecipe(2)
    whole = train_level(cases, recipe)

    def stop(_step: int, _loss: float) -> None:
        raise Stopped

    with contextlib.suppress(Stopped):
        train_level(cases, recipe, keep=keep, report=stop)
    state = checkpoint.load(keep)
    state["told"] = state.pop("settings")
    state["fit"]["schedule"] = {"last_epoch": 1}
    del state["fit"]["norm_steps"]
    checkpoint.save(keep, state)
    steps: list[int] = []
    back = train_level(cases, recipe, keep=keep, report=lambda step, _: steps.append(step))
    assert steps == [2]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name


def test_another_training_that_was_stopped_is_refused_and_given_up_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.level.EVERY", 1)
    monkeypatch.setattr("training.fit.level.SAVE_EVERY_S", 0.0)
    cases = load_coarse_cases([save_case(slab(), tmp_path / "cases")])
    out = tmp_path / "level.pt"
    keep = tmp_path / "level.pt.unfinished"
    train_level(cases, LevelRecipe(1, 1, seed=9), keep=keep)
    call = ["level", "--cases", str(tmp_path / "cases"), "--out", str(out), "--steps", "1"]
    refused = CliRunner().invoke(app, call)
    assert isinstance(refused.exception, UsageError)
    assert "with other seed; give --no-resume" in str(refused.exception)
    assert keep.exists()
    done = CliRunner().invoke(app, [*call, "--no-resume"])
    assert done.exit_code == 0, done.output
    assert out.exists()
    assert not keep.exists()


def test_the_command_goes_on_with_as_many_networks_as_it_starts_from(tmp_path: Path) -> None:
    save_case(slab(), tmp_path / "cases")
    both = LevelNets([LevelNet(LevelArchitecture()) for _ in range(2)])
    save_level(both, tmp_path / "both.pt")
    call = ["level", "--cases", str(tmp_path / "cases"), "--out", str(tmp_path / "level.pt")]
    done = CliRunner().invoke(
        app, [*call, "--steps", "1", "--threads", "1", "--start", str(tmp_path / "both.pt")]
    )
    assert done.exit_code == 0, done.output
    assert load_level_network(tmp_path / "level.pt")[1].members == 2


@pytest.mark.skipif(not has_bfloat16(), reason="needs a CPU that multiplies bfloat16")
def test_bfloat16_trains_alike_on_the_smallest_grids() -> None:
    torch.set_num_threads(1)
    cases = [coarse_case(slab())]  # its coarsest grid has one voxel along an axis
    exact, mixed = (
        train_level(cases, LevelRecipe(12, seed=4)),
        train_level(cases, LevelRecipe(12, seed=4, mixed=True)),
    )
    image, heat = level_sample(cases[0], np.random.default_rng(99))
    with torch.no_grad():
        losses = [float(level_loss(n(image[None]), heat[None])) for n in (exact, mixed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    for name, value in mixed.state_dict().items():
        far = torch.linalg.vector_norm(value - exact.state_dict()[name])
        assert far < 0.15 * torch.linalg.vector_norm(value) + 0.02, name


def test_a_level_that_is_not_found_is_not_a_number(tmp_path: Path) -> None:
    path = save_case(slab(), tmp_path)
    silent = LevelNet(LevelArchitecture(width=4))
    torch.nn.init.constant_(silent.head.bias, -20.0)  # type: ignore[arg-type]
    assert np.isnan(errors_mm(silent, [path])["spider-900"])
    with pytest.raises(CaseUnreadable):
        errors_mm(silent, [tmp_path / "absent.npz"])


def test_the_command_trains_writes_weights_and_tells_errors(tmp_path: Path) -> None:
    save_case(slab(), tmp_path / "cases")
    another = replace(slab(), case_id="spider-901", patient_id="another", image=-slab().image)
    save_case(another, tmp_path / "cases")
    out = tmp_path / "here" / "level.pt"
    call = ["level", "--cases", str(tmp_path / "cases"), "--out", str(out), "--steps", "2"]
    done = CliRunner().invoke(app, [*call, "--held-out", "spider-901"])
    assert done.exit_code == 0, done.output
    assert "spider-901: not found" in done.output
    network, _ = load_level_network(out)
    expected = train_level([coarse_case(slab())], LevelRecipe(2))
    assert torch.equal(network.state_dict()["head.bias"], expected.state_dict()["head.bias"])
    assert [p.name for p in out.parent.iterdir()] == ["level.pt"]


@pytest.mark.parametrize("start", ["file", "bundle"])
def test_the_command_goes_on_from_a_file_of_weights_or_a_bundle(tmp_path: Path, start: str) -> None:
    save_case(slab(), tmp_path / "cases")
    begun = LevelNet(LevelArchitecture())
    given = tmp_path / "begun.pt"
    if start == "file":
        save_level(begun, given)
    else:
        given = tmp_path / "bundle"
        given.mkdir()
        save_file(begun.state_dict(), given / LEVEL_WEIGHTS)
    out = tmp_path / "level.pt"
    call = ["level", "--cases", str(tmp_path / "cases"), "--out", str(out), "--steps", "1"]
    done = CliRunner().invoke(app, [*call, "--start", str(given)])
    assert done.exit_code == 0, done.output
    expected = train_level([coarse_case(slab())], LevelRecipe(1), start=begun.state_dict())
    found, _ = load_level_network(out)
    assert torch.equal(found.state_dict()["head.bias"], expected.state_dict()["head.bias"])


def test_weights_of_something_else_are_no_start(tmp_path: Path) -> None:
    save_case(slab(), tmp_path / "cases")
    other = tmp_path / "other.pt"
    torch.save({"a": torch.zeros(1)}, other)
    call = ["level", "--cases", str(tmp_path / "cases"), "--out", str(tmp_path / "level.pt")]
    done = CliRunner().invoke(app, [*call, "--start", str(other)])
    assert isinstance(done.exception, CheckpointUnreadable)


@pytest.mark.parametrize(
    ("held", "said"), [("spider-902", "spider-902 is not below"), ("spider-900", "no prepared")]
)
def test_the_command_refuses_cases_that_are_not_there(tmp_path: Path, held: str, said: str) -> None:
    save_case(slab(), tmp_path)
    call = ["level", "--cases", str(tmp_path), "--out", str(tmp_path / "l.pt"), "--held-out", held]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, SourceMissing)
    assert said in str(done.exception)


def _only_l45() -> Case:
    """A case of a hospital: L4/5 alone is labelled, the image shows four discs."""
    whole = slab()
    return replace(whole, source="imported", disc_centres={"l45": whole.level_centre_lps})


def test_discs_that_a_hospital_did_not_label_are_not_taught_as_background() -> None:
    whole, partial = coarse_case(slab()), coarse_case(_only_l45())
    positives = 0
    for seed in range(30):
        _, full = level_sample(whole, np.random.default_rng((3, seed)))
        _, ours = level_sample(partial, np.random.default_rng((3, seed)))
        if full.isnan().any() or float(full.max()) == 0.0:
            assert not full.isnan().any()
            continue
        for channel in (0, 2, ABOVE):
            disc = full[channel] > 0.3
            assert bool(ours[channel][disc].isnan().all()), (seed, channel)
            positives += int(disc.sum())
        # Of L4/5 everything is known: where it is, that it is nowhere else, and that no other disc is there.
        assert not bool(ours[1].isnan().any())
        at = full[1] > 0.3
        assert not bool(ours[:, at].isnan().any())
        assert bool((ours[0][at] == 0).all())
    assert positives > 100


def test_an_unlabelled_disc_is_sought_beyond_the_labelled_ones_only() -> None:
    mm = torch.arange(0.0, 200.0, 5.0)
    points = torch.stack(torch.meshgrid(mm, mm, torch.tensor([0.0]), indexing="ij"), -1)

    def index(height: float) -> np.ndarray:
        return np.array([height, 100.0, 0.0]) / np.array(FINE_MM) - 0.5

    unknown = unknown_discs(points, [(1, index(60.0)), (2, index(95.0))])
    spine = unknown[:, :, 20, 0]  # at the discs' own depth
    assert [bool(unknown[c].any()) for c in range(ABOVE + 1)] == [
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert mm[spine[0]].max() < 60 - NEAR_MM
    for channel in (3, 4, ABOVE):
        assert mm[spine[channel]].min() > 95 + NEAR_MM
    assert not bool(unknown[:, :, 0].any(dim=0)[12:20].any())  # the belly at their height
    assert not bool(unknown_discs(points, [(n, index(40.0 * n + 20)) for n in range(3)])[:3].any())


def test_what_is_unknown_costs_nothing() -> None:
    heat = torch.zeros(1, 2, 3, 3, 3)
    heat[0, 0, 1, 1, 1] = 1.0
    right = torch.where(heat > 0, 12.0, -12.0)
    unknown, wrong = heat.clone(), right.clone()
    unknown[0, 1, 2], wrong[0, 1, 2] = torch.nan, 12.0
    assert float(level_loss(wrong, unknown)) < 1e-6 < float(level_loss(wrong, heat))
    wrong.requires_grad_()
    level_loss(wrong, unknown).backward()
    assert wrong.grad is not None
    assert bool(wrong.grad.isfinite().all())
