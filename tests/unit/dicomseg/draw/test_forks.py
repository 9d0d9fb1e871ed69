"""Where vessels divide: counts of sections, two step widths, and a phantom whose forks are known."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.draw.forks import Fork, agreed, find_forks, fork_of
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Plane
from dicomseg.structures import CHANNELS
from dicomseg.volume import build_affine
from tests.support.shapes import Shapes

HEIGHTS = [-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0]


@pytest.mark.parametrize(
    ("counts", "fork"),
    [
        ([2, 2, 2, 2, 1, 1, 1, 1, 1], Fork("at", -1.5)),
        ([0, 2, 2, 2, 2, 1, 1, 1, 0], Fork("at", 1.5)),
        ([1, 2, 2, 2, 2, 2, 1, 1, 1], Fork("at", 4.5)),  # one limb leaves the picture below
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], Fork("below")),
        ([2, 2, 2, 2, 2, 2, 2, 2, 2], Fork("above")),
        ([2, 2, 2, 1, 2, 1, 1, 1, 1], Fork("unclear")),  # not once
        ([1, 1, 1, 2, 2, 2, 2, 2, 2], Fork("above")),
        ([2, 2, 1, 1, 1, 1, 1, 1, 1], Fork("unclear")),  # too near to the end to be sure
        ([0, 0, 0, 0, 2, 1, 1, 0, 0], Fork("unclear")),
        ([0] * 9, Fork("unclear")),
    ],
)
def test_a_fork_is_one_change_from_two_to_one(counts: list[int], fork: Fork) -> None:
    assert fork_of(counts, HEIGHTS) == fork


def test_two_step_widths_must_agree() -> None:
    assert agreed([Fork("at", 4.0), Fork("at", 5.0)]) == Fork("at", 4.5)
    assert agreed([Fork("at", 4.0), Fork("at", 9.0)]) == Fork("unclear")
    assert agreed([Fork("at", 4.0), Fork("below")]) == Fork("unclear")
    assert agreed([Fork("below"), Fork("below")]) == Fork("below")


@pytest.mark.parametrize("height_mm", [-15.0, 0.0, 18.0])
def test_a_fork_of_known_height_is_found_above_or_below_the_plane(
    shapes: Shapes, height_mm: float
) -> None:
    """An aorta that divides at a height, and one vein that does not."""
    shape, spacing, first = (56, 36, 56), (1.5, 1.5, 1.5), (-41.0, -45.0, -41.0)
    directions = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    affine = build_affine(directions, spacing, first)
    k, j, i = np.indices(shape)
    x, y, z = (start + 1.5 * n for start, n in zip(first, (i, j, k), strict=True))
    trunk = 7.0 - np.hypot(x - 2, y + 20)
    limbs = np.maximum(5.0 - np.hypot(x - 14, y + 20), 5.0 - np.hypot(x + 10, y + 20))
    logits = np.full((CHANNELS, *shape), -30.0)
    logits[0] = 0.0
    logits[6] = np.where(z > height_mm, trunk, limbs) / 0.4
    logits[8] = (6.0 - np.hypot(x + 28, y + 15)) / 0.4
    seg = shapes.answer(np.clip(logits, -30, 30), affine, shapes.straight())
    plane = Plane((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    forks = find_forks(ScoreField(seg.scores.logits, seg.scores.affine, 0.0, seg), plane)
    assert forks["aa"].place == "at"
    assert forks["aa"].height_mm == pytest.approx(height_mm, abs=2.5)
    assert forks["ivc"] == Fork("below")
