"""Where vessels divide: counts of sections, two step widths, and a phantom whose forks are known."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.measure.forks import Fork, agreed, find_forks, fork_of
from dicomseg.measure.measure import measure
from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
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
    assert agreed([Fork("at", 4.0), Fork("at", 5.0)]) == Fork("at", 4.5, differ_mm=1.0)
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
    forks = find_forks(seg, plane)
    assert forks["aa"].place == "at"
    assert forks["aa"].height_mm == pytest.approx(height_mm, abs=2.5)
    assert forks["ivc"] == Fork("below")


def forked(shapes: Shapes, height_mm: float) -> Segmentation:
    """The spine of closed form with an aorta that divides at a height above the disc."""
    pose = shapes.straight(low_mm=(-62.0, -48.0, -30.0), high_mm=(62.0, 44.0, 34.0))
    seg = shapes.segmentation(shapes.spine(), pose)
    volume = seg.labels.volume
    x, y, z = np.moveaxis(volume.to_patient(np.stack(np.indices(volume.shape), axis=-1)), -1, 0)
    trunk = 7.0 - np.hypot(x - 4, y + 31)
    limbs = np.maximum(5.0 - np.hypot(x - 14, y + 31), 5.0 - np.hypot(x + 6, y + 31))
    logits = seg.scores.logits.copy()
    logits[6] = np.clip(np.where(z > height_mm, trunk, limbs) / 0.4, -30, 30)
    return shapes.answer(logits, volume.affine, pose)


def test_a_fork_in_view_is_a_value_with_what_its_uncertainty_contains(shapes: Shapes) -> None:
    further = measure(forked(shapes, 14.0)).further
    found = further["aortic_bifurcation_height"]
    assert found.value == pytest.approx(14.0, abs=2.0)
    assert found.uncertainty is not None
    assert 0.5 < found.uncertainty < 2.0
    assert found.softness is not None
    assert found.softness < 1.0
    assert "steps" in found.uncertainty_note
    assert "plane" in found.uncertainty_note
    ((_, _, z),) = found.points_lps
    assert z == pytest.approx(found.value, abs=0.2)
    assert further["iliac_confluence_height"].refusal is not None


def test_a_fork_out_of_view_or_without_its_vessel_says_so(shapes: Shapes) -> None:
    further = measure(shapes.segmentation(shapes.spine(), shapes.straight())).further
    above, below = further["aortic_bifurcation_height"], further["iliac_confluence_height"]
    assert above.refusal is not None
    assert (above.refusal.code, above.value) == ("fork_above_view", None)
    assert below.refusal is not None
    assert below.refusal.code == "fork_below_view"
    without = {k: v for k, v in shapes.spine().items() if k != "ivc"}
    found = measure(shapes.segmentation(without, shapes.straight())).further
    refusal = found["iliac_confluence_height"].refusal
    assert refusal is not None
    assert refusal.code == "missing"
