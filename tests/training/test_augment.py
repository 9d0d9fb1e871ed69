"""Draws from a case: repeatable, in place, honest about what lies outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomseg.volume import affine_of
from model.window import MULTIPLE
from training.augment import SPACING_MM, Strength, draw
from training.cases import ALL_STRUCTURES, Case

STILL = Strength(0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0, 0.0)
SHAPE = (24, 40, 36)


def case_of(shape: tuple[int, int, int] = (32, 56, 48)) -> Case:
    rng = np.random.default_rng(4)
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] // 2 :, :, : shape[2] // 2] = 1
    labels[: shape[0] // 2, :, shape[2] // 2 :] = 6  # "aa" at high columns, the patient's left
    image = (labels * 50 + rng.normal(0, 3, shape)).astype(np.float32)
    affine = affine_of(np.eye(3)[:, ::-1], SPACING_MM, (-20.0, 5.0, 7.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ (np.array(shape) - 1) / 2 + affine[:3, 3])
    return Case(
        "c", "p", "phantom", image, labels, affine, ALL_STRUCTURES, (x, y, z), (0.0, 0.0, 1.0), {}
    )


def test_the_same_seed_gives_the_same_sample_and_another_one_another() -> None:
    case = case_of()
    a, b, c = (draw(case, SHAPE, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.image, c.image)


def test_an_unmoved_draw_is_the_crop_about_the_level() -> None:
    case = case_of((32, 56, 72))
    sample = draw(case, SHAPE, (0,), STILL)
    start = [(n - m) // 2 for n, m in zip(case.image.shape, SHAPE, strict=True)]
    box = tuple(slice(s, s + m) for s, m in zip(start, SHAPE, strict=True))
    np.testing.assert_array_equal(sample.labels[0].numpy(), case.labels[box])
    assert bool((sample.valid == 1).all())
    inside = sample.image[0, 0].numpy()
    assert np.corrcoef(inside.ravel(), case.image[box].ravel())[0, 1] > 0.9


def test_left_stays_left_whatever_the_seed() -> None:
    case = case_of()
    for seed in range(6):
        labels = draw(case, SHAPE, (seed,)).labels[0].numpy()
        artery, body = np.argwhere(labels == 6), np.argwhere(labels == 1)
        assert artery[:, 2].mean() > body[:, 2].mean()
        assert artery[:, 0].mean() < body[:, 0].mean()


def test_what_lies_outside_a_narrow_slab_is_marked_and_zero() -> None:
    case = case_of((32, 56, 20))
    sample = draw(case, (24, 40, 32), (5,))
    outside = sample.valid[0] == 0
    assert bool(outside.any())
    assert bool((sample.image[0, 0][outside] == 0).all())
    assert bool((sample.labels[0][outside] == 0).all())


@pytest.mark.parametrize("seed", range(4))
def test_grey_values_stay_near_a_z_score(seed: int) -> None:
    sample = draw(case_of(), SHAPE, (seed,))
    inside = sample.image[0][sample.valid > 0]
    assert abs(float(inside.mean())) < 0.3
    assert 0.8 < float(inside.std()) < 1.25
    assert all(n % MULTIPLE == 0 for n in sample.image.shape[2:])
