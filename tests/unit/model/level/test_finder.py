"""The level finder: peaks of its heat maps, geometry of the search grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from dicomseg.segmentation import Level
from dicomseg.volume import Array, Volume, build_affine
from model.engines.torch_engine import infer_heat
from model.level.finder import (
    MIN_GRID,
    HeatMaps,
    NetworkFinder,
    area_means,
    disc_candidates,
    middle_columns,
    search_grid,
)
from model.networks.disc_channels import ABOVE, L45
from model.networks.level_unet import LevelArchitecture, LevelNet


def test_candidates_lie_at_the_centre_of_their_heat() -> None:
    grid = Volume(
        np.zeros((20, 24, 12)), build_affine(np.eye(3)[:, ::-1], (6, 6, 4), (-20, -70, 5))
    )
    truth = np.array([1.3, -11.0, 61.7])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    distance = np.linalg.norm(grid.to_patient(index) - truth, axis=-1)
    maps = np.zeros((ABOVE + 1, *grid.shape))
    maps[L45] = np.exp(-(distance**2) / (2 * 6.0**2))
    (found,) = disc_candidates(maps, grid)
    assert np.linalg.norm(found.centre_lps - truth) < 0.5
    assert int(found.identity.argmax()) == L45


def test_the_search_grid_keeps_places_in_the_patient() -> None:
    rng = np.random.default_rng(1)
    array = rng.normal(0, 0.01, (30, 80, 70)).astype(np.float32)
    array[12:27, 21:42, 31:52] = 500.0
    sagittal = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # slices to the left, rows down
    volume = Volume(array, build_affine(sagittal, (4.0, 1.0, 1.0), (-60, -30, 90)))
    grid = search_grid(volume)
    hot = np.argwhere(grid.array > grid.array.max() / 2).mean(axis=0)
    truth = volume.to_patient(np.array([19.0, 31.0, 41.0]))
    np.testing.assert_allclose(grid.to_patient(hot), truth, atol=1.5)


def test_wide_volumes_are_searched_about_their_middle() -> None:
    grid = Volume(
        np.zeros((4, 5, 60), np.float32), build_affine(np.eye(3)[:, ::-1], (3, 3, 4), (-118, 0, 0))
    )
    kept = middle_columns(grid)
    assert kept.shape == (4, 5, 36)
    middle = kept.to_patient((np.array(kept.shape) - 1) / 2)
    assert middle[0] == pytest.approx(0.0)


@pytest.mark.parametrize("size", [(3, 4, 1), (7, 5, 6), (10, 9, 6)])
def test_means_of_boxes_are_those_of_torch(size: tuple[int, int, int]) -> None:
    array = np.random.default_rng(4).normal(size=(10, 9, 6)).astype(np.float32)
    given = torch.from_numpy(array)[None, None]
    expected = functional.interpolate(given, size=size, mode="area")[0, 0].numpy()
    np.testing.assert_allclose(area_means(array, size), expected, atol=1e-6)


def test_the_finder_maps_heat_to_the_patient() -> None:
    torch.manual_seed(0)
    finder = NetworkFinder(infer_heat(LevelNet(LevelArchitecture(width=4))))
    grid = Volume(
        np.random.default_rng(2).normal(size=(12, 10, 6)).astype(np.float32),
        build_affine(np.eye(3)[:, ::-1], (3, 3, 4), (0, 0, 0)),
    )
    heat = finder.heat(grid)
    assert isinstance(heat, HeatMaps)
    np.testing.assert_allclose(heat.grid.to_patient(np.zeros(3)), (0.0, 1.5, 1.5))
    mirrored = finder.heat(replace(grid, array=grid.array[..., ::-1]))
    np.testing.assert_allclose(mirrored.maps, heat.maps[..., ::-1], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 40, 12), (20, 21, 2), (8, 8, 1)])
def test_a_grid_too_small_for_the_network_is_shown_with_its_border_repeated(
    shape: tuple[int, int, int],
) -> None:
    seen = []

    def infer(images: Array) -> Array:
        seen.append(images)
        return images[:, :, ::2, ::2]

    image = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    grid = Volume(image, build_affine(np.eye(3)[:, ::-1], (3, 3, 4), (0, 0, 0)))
    maps = NetworkFinder(infer).heat(grid).maps
    assert maps.shape == (1, -(-shape[0] // 2), -(-shape[1] // 2), shape[2])
    np.testing.assert_array_equal(maps[0], image[::2, ::2])
    assert seen[0].shape[2:] == tuple(max(n, m) for n, m in zip(shape, MIN_GRID, strict=True))


SMALL_STEP_MM = 27.0
CORNER_MM = np.array([-20.0, -20.0, 0.0])
LOWEST_MM = np.array([0.0, 0.0, 20.0])
UP = np.array([0.0, 0.0, 1.0])


class BySize(NetworkFinder):
    """Names four discs from the sacrum where the spine has its usual size, and a level too high where it is small."""

    def __init__(self, known_mm: float) -> None:
        super().__init__(lambda images: images)
        self.known_mm = known_mm

    def heat(self, grid: Volume) -> HeatMaps:
        times = grid.shape[0] * grid.spacing_mm[0] / 150.0  # as it is shown; it is 150 mm high
        right = SMALL_STEP_MM * times > self.known_mm
        index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
        places = CORNER_MM + (grid.to_patient(index) - CORNER_MM) / times
        maps = np.zeros((ABOVE + 1, *grid.shape), np.float32)
        for n in range(4):
            far = np.linalg.norm(places - LOWEST_MM - n * SMALL_STEP_MM * UP, axis=-1)
            bump = np.exp(-(far**2) / (2 * 5.0**2))
            if right:
                maps[n] = np.maximum(maps[n], 0.8 * bump)
            else:
                maps[n] = np.maximum(maps[n], 0.45 * bump)
                maps[max(0, n - 1)] = np.maximum(maps[max(0, n - 1)], 0.55 * bump)
        return HeatMaps(maps, grid)


def test_a_small_spine_is_looked_at_again_in_its_usual_size() -> None:
    grid = build_affine(np.eye(3)[:, ::-1], (1.0, 1.0, 1.0), CORNER_MM)
    volume = Volume(np.zeros((150, 41, 41), np.float32), grid)
    found = BySize(known_mm=32.0).locate(volume)
    assert isinstance(found, Level)
    np.testing.assert_allclose(found.centre_lps, LOWEST_MM + SMALL_STEP_MM * UP, atol=1.5)
    assert found.confidence > 0.5
    blind = BySize(known_mm=99.0)  # no size helps: the first chain is taken
    first = blind.chain(volume)
    assert [n for n, _ in first.discs] == [n for n, _ in blind._chain_at(volume, 1.0).discs]
