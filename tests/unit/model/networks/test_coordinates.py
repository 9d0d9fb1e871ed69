"""Coordinates from the level."""

from __future__ import annotations

import numpy as np
import pytest

from model.networks.coordinates import coordinate_channels


def test_places_are_millimetres_from_the_level_in_units_of_32() -> None:
    channels = coordinate_channels((16, 24, 20), (5.5, 9.5, 1.5), (0.8, 0.75, 0.5))
    assert tuple(channels.shape) == (3, 4, 6, 5)
    # the encoder's voxel (1, 2, 0) lies about image voxels 4…7, 8…11, 0…3
    assert channels[:, 1, 2, 0].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert channels[:, 3, 0, 4].tolist() == pytest.approx(
        [8 * 0.8 / 32, -8 * 0.75 / 32, 16 * 0.5 / 32]
    )


def test_without_a_level_the_middle_counts() -> None:
    channels = coordinate_channels((16, 24, 20), None, (0.8, 0.75, 0.75))
    np.testing.assert_allclose(channels, -np.flip(channels, (1, 2, 3)))


def test_every_step_is_rounded_to_float32_as_in_training() -> None:
    found = coordinate_channels((12, 8, 8), (1.3, 0.0, 0.0), (0.8, 0.75, 0.75))[0, :, 0, 0]
    offset = np.array([1.5, 5.5, 9.5], np.float32) - np.float32(1.3)
    assert found.dtype == np.float32
    assert found.tolist() == (offset * np.float32(0.8 / 32)).tolist()
