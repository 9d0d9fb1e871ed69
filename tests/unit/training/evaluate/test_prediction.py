"""The window about the true level, inside which scores count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dicomseg.volume import AXIAL, build_affine
from training.data.cases import Case
from training.evaluate.prediction import true_window

SHAPE = (40, 64, 48)


def empty_case() -> Case:
    affine = build_affine(AXIAL, (0.8, 0.75, 0.75), (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ np.array([20.5, 31.5, 23.5]))
    image, labels = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    return Case("a", "a", "spider", image, labels, affine, (), (x, y, z), (0.0, 0.0, 1.0), {})


def test_the_true_window_is_that_of_the_service_at_the_true_level() -> None:
    case = empty_case()
    assert true_window(case).all()
    far = np.array(case.level_centre_lps) + np.array([0.0, 0.0, 0.8 * 60])
    moved = replace(case, level_centre_lps=(float(far[0]), float(far[1]), float(far[2])))
    inside = true_window(moved).any(axis=(1, 2))
    # centre at slice 20.5 + 60 rounds to 80: slices from 80 − 64 = 16
    np.testing.assert_array_equal(np.flatnonzero(inside), np.arange(16, 40))
