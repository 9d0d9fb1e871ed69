"""Baselines learn from other patients only, and say what little they know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import ALL_STRUCTURES, Case, save_case
from training.evaluate.baselines import (
    Baselines,
    best_bins,
    binned,
    learn,
    mean_shape,
    overlap_with_window,
    threshold,
)
from training.evaluate.prediction import true_window
from training.fit.augment import SPACING_MM

SHAPE = (24, 32, 40)


def case(name: str, patient: str = "", shift: int = 0) -> Case:
    """A bright block of L4 above a dark one of L5 on middling ground, `shift` voxels to the left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[14:20, 8:20, 10 + shift : 22 + shift] = 1
    labels[4:10, 8:20, 10 + shift : 22 + shift] = 3
    image = np.where(labels == 1, 300.0, np.where(labels == 3, 10.0, 150.0)).astype(np.float32)
    image += np.random.default_rng(len(name)).normal(0, 2, SHAPE).astype(np.float32)
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (5.0, -3.0, 40.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ (12.0, 14.0, 16.0 + shift) + affine[:3, 3])
    return Case(
        name, patient or name, "phantom", image, labels, affine, ALL_STRUCTURES, (x, y, z), (0, 0, 1), {}
    )  # fmt: skip


def test_the_mean_shape_moves_with_the_level() -> None:
    teachers = [learn(case("a")), learn(case("b", shift=3))]
    found = mean_shape(case("c", shift=6), teachers)
    assert np.array_equal(found, case("c", shift=6).labels)


def test_a_place_only_a_minority_holds_is_background() -> None:
    odd = case("odd")
    odd.labels[:] = 0
    few = [learn(case("a")), learn(odd), learn(odd)]
    assert not mean_shape(case("c"), few).any()


def test_grey_values_alone_tell_bright_from_dark() -> None:
    one = case("c")
    masks = threshold(one, [learn(case("a")), learn(case("b"))])
    assert np.array_equal(masks["l4"], one.labels == 1)
    assert np.array_equal(masks["l5"], one.labels == 3)
    assert not masks["ivd"].any()  # no teacher shows a disc


def test_the_best_bins_are_those_of_the_highest_dice() -> None:
    inside, every = np.array([50, 30, 5, 0]), np.array([50, 60, 500, 9])
    # Dice of {0}: 100 / 135, of {0, 1}: 160 / 195, of {0, 1, 2}: 170 / 695
    assert best_bins(inside, every).tolist() == [True, True, False, False]
    assert not best_bins(np.zeros(4, int), every).any()


def test_the_window_is_cut_at_the_image() -> None:
    there, here = overlap_with_window(case("a"))
    assert [s.stop - s.start for s in there] == [s.stop - s.start for s in here] == list(SHAPE)
    assert binned(np.array([-1e9, 0.0, 1e9])).tolist()[0] < binned(np.array([0.0, 1.0])).max()


def test_a_case_never_learns_from_its_own_patient(tmp_path: Path) -> None:
    paths = [save_case(case(f"case-{n}", patient), tmp_path) for n, patient in enumerate("aabbc")]
    both = Baselines(paths)
    assert [p.stem for p in both.choose_teachers(case("case-0", "a"))] == [
        "case-2",
        "case-3",
        "case-4",
    ]
    one = case("case-4", "c")
    assert both.digest(one) != both.digest(case("case-0", "a"))
    scores = both.scores(one, true_window(one))
    assert scores["mean_shape"] == {"l4": pytest.approx(1.0), "l5": pytest.approx(1.0)}
    assert set(scores) == {"mean_shape", "threshold"}
    assert Baselines(paths[:1]).scores(one, true_window(one)) == {}
