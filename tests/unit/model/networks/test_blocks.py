"""Coordinates from the level, and the block of two convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.networks.blocks import coordinate_channels, double_conv


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
    torch.testing.assert_close(channels, -channels.flip(1, 2, 3))


def test_a_double_convolution_keeps_the_size_and_normalises_twice() -> None:
    block = double_conv(2, 6, nn.BatchNorm3d, nn.ReLU)
    kinds = [type(layer) for layer in block]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
    assert tuple(block(torch.randn(1, 2, 5, 6, 7)).shape) == (1, 6, 5, 6, 7)
    assert all(layer.bias is None for layer in block if isinstance(layer, nn.Conv3d))
