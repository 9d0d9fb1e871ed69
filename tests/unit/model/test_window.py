"""The paper's window: where it lies, what it holds, and the way back, exact in patient space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from dicomseg.segmentation import Level, Segmentation
from dicomseg.structures import CHANNELS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.load import load_bundle
from model.bundle.write import write_coded_bundle
from model.engines.coded import encode_labels
from model.errors import WindowRefused
from model.grid import SPACING_MM
from model.patch import FineLogit, Prediction
from model.roots import ROOTS
from model.segment import segment
from model.window import Window, best_on_patch

ORIGIN = (-18.0, -31.0, 140.0)


def canonical(array: np.ndarray) -> Volume:
    return Volume(array, build_affine(AXIAL, SPACING_MM, ORIGIN))


def level_at(volume: Volume, index: tuple[float, float, float]) -> Level:
    x, y, z = (float(v) for v in volume.to_patient(np.array(index)))
    return Level((x, y, z), (0.0, 0.0, 1.0), 1.0)


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(8).integers(0, 3000, shape).astype(np.uint16)


def test_a_canonical_source_is_a_view_of_its_own_voxels() -> None:
    volume = canonical(noise((24, 32, 28)))
    window = Window.at(volume, level_at(volume, (12, 16, 14)))
    patch = window.cut()
    assert window.shape == (24, 32, 28)
    assert bool(patch.valid.all())
    np.testing.assert_array_equal(np.round(patch.raw()), volume.array)
    assert patch.mean == pytest.approx(volume.array.mean(), rel=1e-6)
    assert float(patch.values.std()) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(patch.affine, volume.affine)


def test_a_size_that_is_no_multiple_of_four_is_padded_with_zeros_that_do_not_count() -> None:
    volume = canonical(noise((21, 31, 26)))
    patch = Window.at(volume, level_at(volume, (10, 15, 13))).cut()
    assert patch.values.shape == (24, 32, 28)
    assert int(patch.valid.sum()) == 21 * 31 * 26
    assert not patch.values[~patch.valid].any()
    assert patch.mean == pytest.approx(volume.array.mean(), rel=1e-6)
    inside = Volume(patch.values, patch.affine)
    at = np.round(inside.to_index(volume.to_patient(np.array([20, 30, 25])))).astype(int)
    assert patch.raw()[tuple(at)] == pytest.approx(float(volume.array[20, 30, 25]), abs=0.01)


@pytest.mark.parametrize("spacing", [SPACING_MM, (1.5, 1.0, 1.1)])
def test_the_level_is_the_middle_voxel_of_the_paper_s_grid(
    spacing: tuple[float, float, float],
) -> None:
    array = np.zeros((16, 40, 36), np.float32)
    array[7, 12, 20] = 1000.0
    volume = Volume(array, build_affine(AXIAL, spacing, ORIGIN))
    window = Window.at(volume, level_at(volume, (7, 12, 20)))
    values = window.cut().values
    brightest = np.array(np.unravel_index(values.argmax(), values.shape)) + window.start
    assert tuple(brightest) == (64, 120, 90)


def test_a_source_larger_than_the_window_is_cut_about_the_level() -> None:
    volume = canonical(noise((8, 300, 8)))
    window = Window.at(volume, level_at(volume, (4, 200, 4)))
    assert window.shape == (8, 220, 8)  # 120 rows before the level, 100 behind it
    assert window.offset == (0, 80, 0)
    patch = window.cut()
    assert patch.valid.all()
    np.testing.assert_array_equal(np.round(patch.raw()), volume.array[:, 80:])


@pytest.mark.parametrize("spacing", [SPACING_MM, (1.1, 0.9, 0.6)])
@pytest.mark.parametrize("factor", [1, 2])
def test_labels_turn_where_the_logits_cross_in_the_patient(
    spacing: tuple[float, float, float], factor: int
) -> None:
    array = noise((20, 28, 24))
    volume = Volume(array, build_affine(AXIAL, spacing, ORIGIN))
    window = Window.at(volume, level_at(volume, (10, 14, 12)))
    patch = window.cut()
    logits = np.zeros((CHANNELS, *(n // factor for n in patch.values.shape)), np.float32)
    grid = patch.scores(logits)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in logits.shape[1:]), indexing="ij"), -1)
    crossing = float(volume.to_patient(np.array([10, 14, 12.3]))[0])
    x = Volume(logits[0], grid.affine).to_patient(index)[..., 0]
    logits[4] = x - crossing
    labels = window.paint(Prediction(logits, patch.scores(logits)))
    all_voxels = np.stack(np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij"), -1)
    expected = np.where(volume.to_patient(all_voxels)[..., 0] > crossing, 4, 0)
    seen = labels.analysed_mask
    assert seen[2:-2, 2:-2, 2:-2].all()
    np.testing.assert_array_equal(labels.volume.array[seen], expected[seen])
    assert not labels.volume.array[~seen].any()


@pytest.mark.parametrize("rooted", [False, True])
def test_what_is_not_interpolated_is_what_interpolation_says(*, rooted: bool) -> None:
    """Blobs of all classes with borders, single voxels and ties among them, against all logits at full size."""
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 1, (CHANNELS, 12, 14, 10)).astype(np.float32)
    logits[0] += 2.0
    logits[2, 2:9, 3:11, 1:8], logits[6, 4:6, 4:9, 2:5] = 9.0, 12.0
    logits[ROOTS, 3, 3:9] = 15.0
    shape = (24, 28, 20)
    full = functional.interpolate(torch.from_numpy(logits)[None], size=shape, mode="trilinear")[0]
    roots = rng.normal(-1, 1, shape).astype(np.float32) if rooted else None
    if roots is not None:
        full[ROOTS] = -torch.inf
    expected = full.argmax(0).numpy()
    if roots is not None:
        expected[roots > 0] = ROOTS
    fine = None if roots is None else FineLogit(ROOTS, roots)
    found = best_on_patch(logits, shape, fine)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_voxels_outside_the_window_are_not_analysed() -> None:
    volume = canonical(noise((8, 300, 8)))
    window = Window.at(volume, level_at(volume, (4, 200, 4)))
    patch = window.cut()
    logits = np.zeros((CHANNELS, *patch.values.shape), np.float32)
    logits[3] = 1.0
    labels = window.paint(Prediction(logits, patch.scores(logits)))
    assert not labels.analysed_mask[:, :80].any()
    assert labels.analysed_mask[:, 80:].all()
    assert not labels.volume.array[:, :80].any()
    assert (labels.volume.array[:, 80:] == 3).all()


def spine() -> np.ndarray:
    labels = np.zeros((40, 60, 56), np.uint8)
    labels[25:35, 14:34, 16:40] = 1
    labels[16:25, 14:34, 17:39] = 2
    labels[6:16, 16:36, 16:40] = 3
    labels[3:38, 37:46, 22:34] = 4
    labels[4:37, 4:11, 29:37] = 6
    labels[4:37, 4:12, 18:27] = 8
    labels[5:36, 15:40, 2:14] = 7
    labels[5:36, 15:40, 43:54] = 7
    return labels


def coded(labels: np.ndarray) -> np.ndarray:
    runner_up = np.where(labels == 0, 1, 0).astype(np.uint8)
    return encode_labels(labels, runner_up, np.full(labels.shape, 4.0))


def rotated(volume: Volume, degrees: float) -> Volume:
    a = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return Volume(volume.array, turn @ volume.affine)


SAGITTAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Slices to the left, rows to the feet, columns to the back."""
CORONAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Slices to the front, rows to the feet, columns to the left."""
FEET_FIRST = AXIAL * np.array([-1.0, 1.0, 1.0])
"""Slices to the feet."""
SOURCES: dict[str, Callable[[Volume], Volume]] = {
    "axial": lambda v: v,
    "sagittal": lambda v: v.oriented(SAGITTAL),
    "coronal": lambda v: v.oriented(CORONAL),
    "slices to the feet": lambda v: v.oriented(FEET_FIRST),
    "tilted by 12°": lambda v: rotated(v, 12.0),
    "sagittal, tilted by 12°": lambda v: rotated(v, 12.0).oriented(SAGITTAL),
}


@pytest.mark.parametrize("name", SOURCES)
def test_labels_come_back_to_the_same_place_in_the_patient(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    truth = spine()
    source = SOURCES[name](canonical(coded(truth)))
    model = load_bundle(write_coded_bundle(tmp_path_factory.mktemp("oracle")))
    found = segment(source, model)
    assert isinstance(found, Segmentation)
    assert found.labels.analysed_mask.all()
    reference = SOURCES[name](canonical(truth))
    np.testing.assert_allclose(found.labels.volume.affine, source.affine)
    np.testing.assert_array_equal(found.labels.volume.array, reference.array)
    disc = reference.to_patient(np.argwhere(reference.array == 2).mean(0))
    np.testing.assert_allclose(found.level.centre_lps, disc, atol=1e-6)


def test_a_resampled_source_differs_only_next_to_a_border(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    truth = spine()
    affine = build_affine(AXIAL, (1.2, 0.9, 0.9), ORIGIN)
    tilted = rotated(Volume(coded(truth), affine), 25.0).oriented(SAGITTAL)
    model = load_bundle(write_coded_bundle(tmp_path_factory.mktemp("oracle")))
    found = segment(tilted, model)
    assert isinstance(found, Segmentation)
    reference = rotated(Volume(truth, affine), 25.0).oriented(SAGITTAL).array
    seen = found.labels.analysed_mask
    wrong = np.argwhere((found.labels.volume.array != reference) & seen)
    assert seen.mean() > 0.95
    assert len(wrong) < 0.04 * seen.sum()
    for i, j, k in wrong:
        near = reference[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2, max(0, k - 1) : k + 2]
        assert near.min() != near.max()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("spacing", [SPACING_MM, (1.0, 1.0, 1.0)])
def test_values_that_are_not_finite_are_refused(
    value: float, spacing: tuple[float, float, float]
) -> None:
    array = noise((12, 16, 16)).astype(np.float32)
    array[5, 6, 7] = value
    volume = Volume(array, build_affine(AXIAL, spacing, ORIGIN))
    with pytest.raises(WindowRefused, match="not finite"):
        Window.at(volume, level_at(volume, (6, 8, 8))).cut()


def test_a_constant_window_is_refused() -> None:
    volume = canonical(np.full((12, 16, 16), 7, np.uint16))
    with pytest.raises(WindowRefused, match="constant") as refusal:
        Window.at(volume, level_at(volume, (6, 8, 8))).cut()
    assert refusal.value.exit_code == 4


@pytest.mark.parametrize("spacing", [SPACING_MM, (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("away", [(400, 8, 8), (6, 900, 8), (6, 8, -900)])
def test_a_level_far_from_the_image_is_refused(
    spacing: tuple[float, float, float], away: tuple[int, int, int]
) -> None:
    volume = Volume(noise((12, 16, 16)), build_affine(AXIAL, spacing, ORIGIN))
    with pytest.raises(WindowRefused, match="outside the image"):
        Window.at(volume, level_at(volume, away)).cut()


@pytest.mark.parametrize("spacing", [SPACING_MM, (1.1, 0.6, 0.9)], ids=["canonical", "resampled"])
def test_a_patch_knows_where_its_level_lies(spacing: tuple[float, float, float]) -> None:
    volume = Volume(noise((40, 60, 52)), build_affine(AXIAL, spacing, ORIGIN))
    level = level_at(volume, (29.0, 11.0, 37.0))
    patch = Window.at(volume, level).cut()
    assert patch.centre is not None
    there = Volume(patch.values, patch.affine).to_patient(np.array(patch.centre))
    np.testing.assert_allclose(there, level.centre_lps, atol=1e-6)
