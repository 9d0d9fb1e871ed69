from __future__ import annotations

import numpy as np
import pytest

from dicomseg.segmentation import Level
from dicomseg.volume import Volume, build_affine
from model.drawn import HALF_SIZE_MM, near_level, smooth_logits


def test_soft_labels_keep_their_best_class_on_flat_borders() -> None:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[:, 4:, :] = 2
    assert np.array_equal(smooth_logits(labels).argmax(0), labels)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_what_is_near_the_level_is_kept_whatever_the_axes(axes: tuple[int, int, int]) -> None:
    directions = np.eye(3)[:, list(axes)] @ np.diag([1.0, -1.0, 1.0])
    shape = tuple(np.array([300, 300, 300])[list(axes)])
    start = -directions @ (np.array(shape) - 1) / 2
    labels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    volume = Volume(labels, build_affine(directions, (1.0, 1.0, 1.0), start))
    level = Level((10.0, -20.0, 30.0), (0.0, 0.0, 1.0), 1.0)
    part = near_level(volume, level)
    corners = part.to_patient(np.array([(0, 0, 0), np.array(part.shape) - 1]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    for axis, half in enumerate(HALF_SIZE_MM):
        assert low[axis] == pytest.approx(level.centre_lps[axis] - half, abs=1.0)
        assert high[axis] == pytest.approx(level.centre_lps[axis] + half, abs=1.0)
    where = np.rint(volume.to_index(part.to_patient(np.array([3, 4, 5])))).astype(int)
    assert part.array[3, 4, 5] == labels[tuple(where)]
