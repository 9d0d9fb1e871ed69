"""Grey values on planes."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.draw.reformat import Window, doubled, find_window, sample_grey, to_rgb
from dicomseg.measure.plane import Raster, to_lps
from dicomseg.result import Plane
from dicomseg.volume import Volume

PLANE = Plane((10.0, 10.0, 10.0), (0.0, -0.6, 0.8), (1.0, 0.0, 0.0), (0.0, 0.8, 0.6))


def test_a_linear_field_is_sampled_exactly_and_nothing_outside_the_image() -> None:
    i, j, k = np.indices((20, 21, 22))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    volume = Volume((2.0 * i + 3.0 * j - k).astype(np.float32), affine)
    raster = Raster(-14.0, -14.0, 0.7, (41, 41))
    grey = sample_grey(volume, PLANE, raster)
    a, b = np.meshgrid(*(start + 0.7 * np.arange(41) for start in (-14.0, -14.0)), indexing="ij")
    lps = to_lps(PLANE, np.stack([a, b], axis=-1))
    inside = np.all((lps >= 0) & (lps <= np.array([19, 20, 21])), axis=-1)
    assert 0.3 < inside.mean() < 0.95
    expected = 2 * lps[..., 0] + 3 * lps[..., 1] - lps[..., 2]
    assert grey[inside] == pytest.approx(expected[inside], abs=1e-3)
    outside = np.any((lps < -0.5) | (lps > np.array([19.5, 20.5, 21.5])), axis=-1)
    assert np.isnan(grey[outside]).all()


def test_a_picture_has_rows_to_the_back_and_marks_what_is_not_imaged() -> None:
    grey = np.array([[0.0, 10.0, np.nan], [5.0, 10.0, 10.0]])  # (a, b)
    rgb = to_rgb(grey, Window(0.0, 10.0), (1, 2, 3))
    assert rgb.shape == (3, 2, 3)
    assert rgb[0, 0].tolist() == [0, 0, 0]
    assert rgb[1, 0].tolist() == [254, 254, 254]
    assert rgb[2, 0].tolist() == [1, 2, 3]
    assert 0 < rgb[0, 1, 0] < 255


def test_greys_and_the_outside_are_256_colours() -> None:
    grey = np.concatenate([np.linspace(0, 100, 5000), [np.nan]])[:, None]
    colours = np.unique(to_rgb(grey, Window(0.0, 100.0), (38, 46, 54)).reshape(-1, 3), axis=0)
    assert len(colours) == 256
    # twice as bright tissue is less than twice as bright on paper, and darker never becomes brighter
    shades = to_rgb(np.linspace(0, 100, 5)[:, None], Window(0.0, 100.0), (0, 0, 0))[0, :, 0]
    assert shades.tolist() == pytest.approx([254 * s**0.85 for s in (0, 0.25, 0.5, 0.75, 1)], abs=1)


def test_midpoints_of_a_cubic_are_exact_and_the_samples_stay() -> None:
    a, b = np.meshgrid(np.arange(9.0), np.arange(7.0), indexing="ij")

    def cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 0.1 * a**3 - a**2 + 0.2 * b**3 + a * b

    twice = doubled(cubic(a, b).astype(np.float32))
    assert twice.shape == (17, 13)
    assert twice[::2, ::2] == pytest.approx(cubic(a, b))
    fine = cubic(*np.meshgrid(np.arange(0, 8.1, 0.5), np.arange(0, 6.1, 0.5), indexing="ij"))
    assert twice[2:-2, 2:-2] == pytest.approx(fine[2:-2, 2:-2], abs=1e-4)


def test_a_window_ignores_the_outside_and_a_flat_picture_has_one() -> None:
    grey = np.concatenate([np.full(50, np.nan), np.linspace(0, 100, 201)])
    window = find_window(grey)
    assert (window.low, window.high) == pytest.approx((1.0, 97.5), abs=0.2)
    flat = find_window(np.full(9, 7.0))
    assert flat.high > flat.low
    assert find_window(np.full(4, np.nan)) == Window(0.0, 1.0)
