"""Scores of masks whose overlap and distances are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from training.evaluate.metrics import MISSED, dice, score, surface, surface_distances

SPACING = (2.0, 1.0, 0.5)


def block(start: tuple[int, int, int], stop: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((20, 24, 30), bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def test_dice_of_known_overlap() -> None:
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:4] = True
    b[2:8] = True
    assert dice(a, b) == pytest.approx(2 * 2 / 10)
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1.0


def test_precision_and_recall_are_not_swapped() -> None:
    found, truth = block((4, 4, 4), (8, 8, 8)), block((4, 4, 4), (8, 8, 12))
    got = score(found, truth, SPACING)
    assert got is not None
    assert (got.precision, got.recall) == (1.0, 0.5)
    assert got.dice == pytest.approx(2 / 3)
    assert got.state == "scored"


def test_a_shift_is_measured_along_its_axis_in_mm() -> None:
    truth = block((4, 4, 4), (12, 16, 24))
    for axis, mm in enumerate(SPACING):
        got = score(np.roll(truth, 2, axis), truth, SPACING)
        assert got is not None
        assert got.hd95_mm == pytest.approx(2 * mm)
    same = score(truth, truth, SPACING)
    assert same is not None
    assert (same.hd95_mm, same.assd_mm, same.dice) == (0.0, 0.0, 1.0)


def test_distances_equal_those_by_nearest_neighbours() -> None:
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (20, 24, 30)), indexing="ij"), -1)
    found, truth = (
        (((grid - rng.uniform(9, 12, 3)) / rng.uniform(4, 8, 3)) ** 2).sum(-1) < 1 for _ in "ab"
    )
    one, other = (np.argwhere(surface(m)) * SPACING for m in (found, truth))
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    hd95, assd = surface_distances(found, truth, SPACING)
    assert hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert assd == pytest.approx(np.concatenate([there, back]).mean())


def test_a_mask_at_the_edge_of_the_array_has_a_surface_there() -> None:
    assert surface(np.ones((3, 3, 3), bool)).sum() == 26


def test_rules_for_what_is_missing() -> None:
    mask, empty = block((4, 4, 4), (8, 8, 8)), np.zeros((20, 24, 30), bool)
    assert score(empty, empty, SPACING) is None
    assert score(empty, mask, SPACING) == MISSED
    invented = score(mask, empty, SPACING)
    assert invented is not None
    assert (invented.state, invented.dice, invented.precision) == ("invented", 0.0, 0.0)
    assert invented.recall is None
    assert invented.hd95_mm is None
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(mask, empty, SPACING)
