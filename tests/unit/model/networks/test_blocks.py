"""The block of two convolutions."""

from __future__ import annotations

import torch
from torch import nn

from model.networks.blocks import double_conv


def test_a_double_convolution_keeps_the_size_and_normalises_twice() -> None:
    block = double_conv(2, 6, nn.BatchNorm3d, nn.ReLU)
    kinds = [type(layer) for layer in block]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
    assert tuple(block(torch.randn(1, 2, 5, 6, 7)).shape) == (1, 6, 5, 6, 7)
    assert all(layer.bias is None for layer in block if isinstance(layer, nn.Conv3d))
