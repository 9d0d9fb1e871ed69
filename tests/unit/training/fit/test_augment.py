"""Draws from a case: repeatable, in place, honest about what lies outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dicomseg.volume import build_affine
from model.grid import MULTIPLE
from model.networks.coordinates import COORDINATE_UNIT_MM
from training.data.cases import ALL_STRUCTURES, Case
from training.fit.augment import (
    SPACING_MM,
    Sample,
    Strength,
    augmented_sample,
    deform_disc,
    window_box,
    window_sample,
)

STILL = Strength(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SHAPE = (24, 40, 36)


def case_of(shape: tuple[int, int, int] = (32, 56, 48)) -> Case:
    rng = np.random.default_rng(4)
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] // 2 :, :, : shape[2] // 2] = 1
    labels[: shape[0] // 2, :, shape[2] // 2 :] = 6  # "aa" at high columns, the patient's left
    image = (labels * 50 + rng.normal(0, 3, shape)).astype(np.float32)
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (-20.0, 5.0, 7.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ (np.array(shape) - 1) / 2 + affine[:3, 3])
    return Case(
        "c", "p", "phantom", image, labels, affine, ALL_STRUCTURES, (x, y, z), (0.0, 0.0, 1.0), {}
    )


def test_the_same_seed_gives_the_same_sample_and_another_one_another() -> None:
    case = case_of()
    a, b, c = (augmented_sample(case, SHAPE, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.image, c.image)


def test_an_unmoved_draw_as_large_as_the_window_is_the_window() -> None:
    case = case_of((32, 56, 72))
    sample = augmented_sample(case, (32, 56, 72), (0,), STILL)
    np.testing.assert_array_equal(sample.labels[0].numpy(), case.labels)
    assert bool((sample.valid == 1).all())
    torch.testing.assert_close(sample.image, window_sample(case).image, atol=0.1, rtol=0.05)


def test_left_stays_left_whatever_the_seed() -> None:
    case = case_of()
    for seed in range(6):
        labels = augmented_sample(case, SHAPE, (seed,)).labels[0].numpy()
        artery, body = np.argwhere(labels == 6), np.argwhere(labels == 1)
        assert artery[:, 2].mean() > body[:, 2].mean()
        assert artery[:, 0].mean() < body[:, 0].mean()


def test_a_mirrored_draw_is_told_mirrored_places_and_only_where_nothing_has_a_side() -> None:
    case = replace(level_ball(), labelled=("l4", "ivd", "l5", "dura"))
    plain, mirrored = (
        augmented_sample(case, SHAPE, (3,), replace(STILL, mirror=m)) for m in (0.0, 1.0)
    )
    assert torch.equal(mirrored.labels, plain.labels.flip(3))
    assert torch.equal(mirrored.image, plain.image.flip(4))
    torch.testing.assert_close(mirrored.coordinates[:, :2], plain.coordinates[:, :2])
    torch.testing.assert_close(mirrored.coordinates[:, 2], -plain.coordinates[:, 2].flip(3))
    sided = [augmented_sample(case_of(), SHAPE, (3,), replace(STILL, mirror=m)) for m in (0.0, 1.0)]
    assert torch.equal(sided[0].labels, sided[1].labels)


def stacked_case(disc: int = 12) -> Case:
    """L5, disc and L4 on one another in an upright spine of 64 slices, columns of fat about them."""
    labels = np.zeros((64, 48, 24), np.uint8)
    low, high = 32 - disc // 2, 32 + disc // 2
    labels[8:low, 12:36], labels[low:high, 12:36], labels[high:56, 12:36] = 3, 2, 1
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ [31.5, 23.5, 11.5] + affine[:3, 3])
    image = labels.astype(np.float32)
    middle = ("l4", "ivd", "l5", "dura")
    return Case("s", "p", "spider", image, labels, affine, middle, (x, y, z), (0.0, 0.0, 1.0), {})


def slices_of(sample: Sample, value: int) -> int:
    return int((sample.labels[0] == value).any(2).any(1).sum())


def test_a_disc_is_made_lower_or_higher_about_its_middle_and_the_bodies_keep_their_height() -> None:
    case = stacked_case()
    points = torch.stack(
        torch.meshgrid(*(torch.arange(float(n)) for n in (64, 48, 24)), indexing="ij"), -1
    )
    axis = np.array([30.0, 0.0, 0.0])
    middle = np.array([31.5, 23.5, 11.5])
    for lower_mm, expected in ((2.0, 8), (0.0, 12), (-1.2, 14)):
        there = deform_disc(points, middle, axis, lower_mm, 0.0)
        index = there.round().long().clamp(min=0)
        index = torch.minimum(index, torch.tensor([63, 47, 23]))
        i, j, k = index.unbind(-1)
        labels = torch.from_numpy(case.labels)[i, j, k]
        heights = [int((labels[:, 24, 12] == v).sum()) for v in (3, 2, 1)]
        assert heights[1] == pytest.approx(expected, abs=1)
        assert heights[0] == pytest.approx(18, abs=1)
        assert heights[2] == pytest.approx(18, abs=1)
        found = (labels[:, 24, 12] == 2).nonzero()
        assert float(found.float().mean()) == pytest.approx(31.5, abs=0.6)


def test_the_body_above_slips_along_the_disc() -> None:
    points = torch.tensor([[55.0, 20.0, 5.0], [31.5, 20.0, 5.0], [8.0, 20.0, 5.0]])
    middle, up = np.array([31.5, 20.0, 5.0]), np.array([1.0, 0.0, 0.0])
    moved = deform_disc(points, middle, up, 0.0, 6.0) - points
    want = torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.0, -4.0, 0.0]])  # 3 of 0.75 mm
    torch.testing.assert_close(moved, want, atol=1e-3, rtol=0)
    steep = deform_disc(points, middle, np.array([1.0, 1.0, 0.0]), 0.0, 6.0) - points
    assert float((steep[0] * torch.tensor(SPACING_MM)) @ torch.tensor([1.0, 1.0, 0.0])) == (
        pytest.approx(0, abs=1e-3)
    )


def test_draws_show_other_discs_only_when_asked() -> None:
    case = stacked_case()
    still = {slices_of(augmented_sample(case, (64, 48, 24), (n,), STILL), 2) for n in range(6)}
    assert still == {12}
    varied = replace(STILL, disc_mm=2.0)
    heights = [slices_of(augmented_sample(case, (64, 48, 24), (n,), varied), 2) for n in range(20)]
    assert min(heights) < 10
    assert max(heights) > 12


def test_roots_are_drawn_more_often_when_asked() -> None:
    case = case_of((48, 80, 72))
    case.labels[:] = 1
    case.labels[20:22, 70:72, 60:62] = 5  # "n4" in a corner

    def seen(strength: Strength) -> int:
        return sum(
            bool((augmented_sample(case, (24, 24, 24), (n,), strength).labels == 5).any())
            for n in range(40)  # a centre is moved by up to 10 voxels: half the draw holds it
        )

    assert seen(replace(STILL, roots=1.0)) == 40
    assert seen(STILL) < 10
    case.labels[:] = 1
    assert seen(replace(STILL, roots=1.0)) == 0  # none there: drawn as any other case


def test_what_lies_outside_a_narrow_slab_is_marked_and_zero() -> None:
    case = case_of((32, 56, 20))
    sample = augmented_sample(case, (24, 40, 32), (5,))
    outside = sample.valid[0] == 0
    assert bool(outside.any())
    assert bool((sample.image[0, 0][outside] == 0).all())
    assert bool((sample.labels[0][outside] == 0).all())


@pytest.mark.parametrize("seed", range(4))
def test_grey_values_stay_near_a_z_score(seed: int) -> None:
    case = case_of()
    sample = augmented_sample(case, window_shape(case), (seed,))
    inside = sample.image[0][sample.valid > 0]
    assert abs(float(inside.mean())) < 0.4
    assert 0.7 < float(inside.std()) < 1.35
    assert all(n % MULTIPLE == 0 for n in sample.image.shape[2:])


def window_shape(case: Case) -> tuple[int, int, int]:
    i, j, k = (b.stop - b.start for b in window_box(case))
    return i, j, k


def test_a_crop_is_scored_by_its_window_as_the_service_does() -> None:
    case = case_of()
    whole = window_sample(case)
    assert float(whole.image.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(whole.image.std()) == pytest.approx(1.0, abs=1e-3)
    small = augmented_sample(case, (8, 8, 8), (3,), replace(STILL, focus=1.0))
    # one of three grey levels, at the place that it has in the complete window
    levels = [float(whole.image[0][whole.labels == v].mean()) for v in (0, 1, 6)]
    for value, level in zip((0, 1, 6), levels, strict=True):
        here = small.image[0][small.labels == value]
        if here.numel() > 8:
            assert float(here.mean()) == pytest.approx(level, abs=0.15)


def test_every_labelled_structure_is_drawn_as_often() -> None:
    case = case_of((32, 240, 180))
    case.labels[:] = 0
    case.labels[10:12, 20:24, 20:24] = 5
    case.labels[20:28, 100:220, 100:170] = 7
    seen = [
        {
            int(v)
            for v in augmented_sample(
                case, (8, 24, 24), (n,), replace(STILL, focus=1.0)
            ).labels.unique()
        }
        for n in range(40)
    ]
    assert 10 <= sum(5 in s for s in seen) <= 30
    assert 10 <= sum(7 in s for s in seen) <= 30


def level_ball() -> Case:
    """A ball of 5 mm about the level, which lies off the middle."""
    case = case_of((64, 72, 60))
    level = np.array([26.0, 43.0, 22.0])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in case.labels.shape), indexing="ij"), -1)
    case.labels[:] = np.linalg.norm((index - level) * SPACING_MM, axis=-1) < 5.0
    x, y, z = (float(v) for v in case.affine[:3, :3] @ level + case.affine[:3, 3])
    return replace(case, level_centre_lps=(x, y, z))


def offset_of_level(sample: Sample) -> np.ndarray:
    """Coordinates that the network gets at the middle of the ball, mm."""
    middle = np.argwhere(sample.labels[0].numpy() == 1).mean(0)
    out = []
    for axis in range(3):
        coordinate = np.moveaxis(sample.coordinates[0, axis].numpy(), axis, 0)[:, 0, 0]
        at = np.arange(len(coordinate)) * 4 + 1.5
        slope, start = np.polyfit(at, coordinate, 1)
        out.append((start + slope * middle[axis]) * COORDINATE_UNIT_MM)
    return np.array(out)


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_is_told_where_the_level_is_however_it_is_turned(seed: int) -> None:
    strength = Strength(rotation_deg=25.0, scale=0.2, elastic_mm=0.0, level_mm=0.0)
    offset = offset_of_level(augmented_sample(level_ball(), (48, 56, 48), (seed,), strength))
    np.testing.assert_allclose(offset, 0.0, atol=0.3)


def test_the_window_is_told_where_the_level_is_and_a_draw_with_the_finder_s_error() -> None:
    case = level_ball()
    np.testing.assert_allclose(offset_of_level(window_sample(case)), 0.0, atol=0.2)
    still = replace(STILL, level_mm=8.0)
    errors = np.array(
        [offset_of_level(augmented_sample(case, (48, 56, 48), (n,), still)) for n in range(40)]
    )
    assert 1.8 < errors.std() < 4.0
    assert np.abs(errors).max() < 8.3
