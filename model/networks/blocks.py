"""Layers and inputs that the networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

COORDINATE_UNIT_MM: Final = 32.0
"""Coordinates are in this unit, so that the paper's window spans about −3 to 3."""
ENCODER_STRIDE: Final = 4
"""Image voxels per voxel of the segmentation network's encoder, which takes the coordinates."""


def coordinate_channels(
    shape: Sequence[int],
    centre: Sequence[float] | None,
    spacing_mm: Sequence[float],
    stride: int = ENCODER_STRIDE,
) -> Tensor:
    """Return each coarse voxel's offset from the level along each axis: (3, D/stride, H/stride, W/stride) float32.

    shape: (D, H, W) of the image. centre: its index of the level; None is the image's middle. spacing_mm: of the
    image, same axis order. The unit is `COORDINATE_UNIT_MM`.
    """
    origin = [(n - 1) / 2 for n in shape] if centre is None else centre
    axes = [
        (torch.arange(n // stride) * stride + (stride - 1) / 2 - float(c))
        * (s / COORDINATE_UNIT_MM)
        for n, c, s in zip(shape, origin, spacing_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).float()


def double_conv(
    inputs: int,
    outputs: int,
    norm: Callable[[int], nn.Module],
    activation: Callable[[], nn.Module],
) -> nn.Sequential:
    """Build two 3³ convolutions, each with its norm and activation; the size stays.

    norm: builds a norm for so many channels. activation: builds an activation.
    """
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv3d(i, outputs, 3, padding=1, bias=False),
            norm(outputs),
            activation(),
        ]
    return nn.Sequential(*layers)
