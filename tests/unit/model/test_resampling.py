"""Index arithmetic between grids, and values at fractional indices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional

from dicomseg.volume import Volume
from model.patch import Interpolation
from model.resampling import box_around, corners, mapped, overlap, sampled, slab_indices

AFFINE = np.array([[0.0, 0.0, 2.0, 5.0], [0.0, 1.5, 0.0, -3.0], [0.5, 0.0, 0.0, 7.0], [0, 0, 0, 1]])


def test_corners_are_half_a_voxel_outside_the_centres() -> None:
    points = corners((2, 3, 4))
    assert points.shape == (8, 3)
    assert points.min(0).tolist() == [-0.5, -0.5, -0.5]
    assert points.max(0).tolist() == [1.5, 2.5, 3.5]


def test_an_index_is_mapped_through_the_patient() -> None:
    source, target = Volume(np.zeros((4, 4, 4)), AFFINE), Volume(np.zeros((4, 4, 4)), np.eye(4))
    index = np.random.default_rng(1).uniform(0, 3, (5, 3))
    points = mapped(index, source.affine, target.affine)
    np.testing.assert_allclose(points, source.to_patient(index), atol=1e-12)
    np.testing.assert_allclose(mapped(points, target.affine, source.affine), index, atol=1e-12)


def test_a_box_covers_the_other_grid_with_a_voxel_to_spare_inside_the_volume() -> None:
    volume = Volume(np.zeros((20, 20, 20)), np.eye(4))
    affine = np.eye(4)
    affine[:3, 3] = (4.0, 0.0, 15.0)
    start, stop = box_around(volume, (3, 3, 8), affine)
    assert start == (2, 0, 13)
    assert stop == (9, 5, 20)


@pytest.mark.parametrize(
    ("offset", "source", "box"),
    [((0, 2, -3), [(0, 4), (2, 6), (0, 1)], [(0, 4), (0, 4), (3, 4)]),
     ((-1, 0, 8), [(0, 3), (0, 4), (8, 10)], [(1, 4), (0, 4), (0, 2)])],
)  # fmt: skip
def test_the_overlap_is_named_in_both_grids(
    offset: tuple[int, int, int], source: list[tuple[int, int]], box: list[tuple[int, int]]
) -> None:
    there, inside = overlap(offset, (4, 4, 4), (10, 10, 10))
    assert [(s.start, s.stop) for s in there] == source
    assert [(s.start, s.stop) for s in inside] == box


def test_values_are_interpolated_in_the_order_of_the_axes() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    index = rng.uniform(0, (4, 5, 6), (40, 3))
    linear = sampled(source, index, "linear")
    nearest = sampled(source, np.round(index), "nearest")
    for channel in range(2):
        np.testing.assert_allclose(
            linear[channel], map_coordinates(source[channel], index.T, order=1), atol=1e-5
        )
        np.testing.assert_array_equal(
            nearest[channel], source[channel][tuple(np.round(index).astype(int).T)]
        )


def test_slab_indices_name_every_voxel_of_the_slices() -> None:
    index = slab_indices((9, 2, 3), 4, 6)
    assert index.shape == (2, 2, 3, 3)
    assert index[1, 1, 2].tolist() == [5, 1, 2]


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_values_are_those_of_torch_beyond_the_border_too(interpolation: Interpolation) -> None:
    rng = np.random.default_rng(3)
    for shape in ((2, 5, 6, 7), (1, 1, 6, 2)):
        source = rng.normal(size=shape).astype(np.float32)
        index = rng.uniform(-0.5, np.array(shape[1:]) - 0.5, (4, 50, 3))
        unit = ((index + 0.5) / shape[1:] * 2 - 1)[None, :, None, :, ::-1].astype(np.float32)
        expected = functional.grid_sample(
            torch.from_numpy(source)[None],
            torch.from_numpy(unit.copy()),
            mode="bilinear" if interpolation == "linear" else "nearest",
            padding_mode="border",
            align_corners=False,
        )
        found = sampled(source, index, interpolation)
        np.testing.assert_allclose(found, expected[0, :, :, 0].numpy(), atol=1e-5)


def test_the_source_is_left_as_it_is_and_may_be_read_only() -> None:
    source = np.arange(8.0).reshape(1, 2, 2, 2)
    source.flags.writeable = False
    assert sampled(source, np.array([[0.5, 0.5, 0.5]]), "linear").tolist() == [[3.5]]
