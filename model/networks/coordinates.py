"""The input that says where a voxel lies from the level; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dicomseg.volume import Array

COORDINATE_UNIT_MM: Final = 32.0
"""Coordinates are in this unit, so that the paper's window spans about −3 to 3."""
ENCODER_STRIDE: Final = 4
"""Image voxels per voxel of the segmentation network's encoder, which takes the coordinates."""


def coordinate_channels(
    shape: Sequence[int],
    centre: Sequence[float] | None,
    spacing_mm: Sequence[float],
    stride: int = ENCODER_STRIDE,
) -> Array:
    """Return each coarse voxel's offset from the level along each axis: (3, D/stride, H/stride, W/stride) float32.

    shape: (D, H, W) of the image. centre: its index of the level; None is the image's middle. spacing_mm: of the
    image, same axis order. The unit is `COORDINATE_UNIT_MM`.
    """
    origin = [(n - 1) / 2 for n in shape] if centre is None else centre
    # Every step in float32, as torch does it, with which the networks were trained.
    axes = [
        (np.arange(n // stride) * stride + (stride - 1) / 2).astype(np.float32)
        - np.float32(float(c))
        for n, c in zip(shape, origin, strict=True)
    ]
    scaled = [
        axis * np.float32(s / COORDINATE_UNIT_MM) for axis, s in zip(axes, spacing_mm, strict=True)
    ]
    return np.stack(np.meshgrid(*scaled, indexing="ij"))
