"""A patch brings logits back into the patient."""

from __future__ import annotations

import numpy as np

from dicomseg.segmentation import Level
from dicomseg.structures import CHANNELS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.grid import PAPER_SHAPE, SPACING_MM
from model.window import Window
from tests.support.scores import logits_at

ORIGIN = (-18.0, -31.0, 140.0)


def canonical(array: np.ndarray) -> Volume:
    return Volume(array, build_affine(AXIAL, SPACING_MM, ORIGIN))


def level_at(volume: Volume, index: tuple[float, float, float]) -> Level:
    x, y, z = (float(v) for v in volume.to_patient(np.array(index)))
    return Level((x, y, z), (0.0, 0.0, 1.0), 1.0)


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(8).integers(0, 3000, shape).astype(np.uint16)


def test_the_paper_s_grid_is_padded_with_zeros_at_the_end_of_each_axis() -> None:
    volume = canonical(noise((24, 32, 28)))
    patch = Window.at(volume, level_at(volume, (12, 16, 14))).cut()
    full = patch.on_paper_grid()
    assert full.shape == PAPER_SHAPE
    np.testing.assert_array_equal(full[:24, :32, :28], patch.values)
    assert np.count_nonzero(full) == np.count_nonzero(patch.values)


def test_a_coarse_grid_carries_the_affine_of_its_own_voxels() -> None:
    """A linear ramp, averaged 2 × 2 × 2, still reads as the ramp at any place in the patient."""
    volume = canonical(noise((16, 20, 12)))
    patch = Window.at(volume, level_at(volume, (8, 10, 6))).cut()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in patch.values.shape), indexing="ij"), -1)
    weights = np.array([0.7, -1.3, 0.4])
    ramp = Volume(patch.values, patch.affine).to_patient(index) @ weights
    halves = ramp.reshape(8, 2, 10, 2, 6, 2).mean((1, 3, 5))
    scores = patch.scores(np.stack([halves * (c + 1) for c in range(CHANNELS)]))
    places = volume.to_patient(np.random.default_rng(2).uniform(2, 9, (50, 3)))
    np.testing.assert_allclose(logits_at(scores, places)[1], 2 * (places @ weights), rtol=1e-9)
