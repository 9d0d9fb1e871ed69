"""Labels of an engine beside those of eager torch on one synthetic image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from dicomseg.structures import STRUCTURES
from dicomseg.volume import Array
from model.grid import Index

SEED: Final = 20230818


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of labels at full resolution with those of eager torch.

    equal: share of all voxels. equal_foreground: share of those where either has a structure. The
    lowest Dice is over the `structures` of eager torch. None if it has no structure.
    """

    equal: float
    equal_foreground: float | None
    lowest_dice: float | None
    lowest_structure: str | None
    structures: int
    foreground_voxels: int


def synthetic_image(shape: Index, seed: int = SEED) -> Array:
    """Return a seeded, z-scored float32 image: smooth blobs of two sizes under noise."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for sigma, weight in ((10.0, 1.0), (4.0, 0.6), (0.0, 0.25)):
        part = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
        image += np.float32(weight) * part / part.std()
    return np.asarray((image - image.mean()) / image.std())


def to_labels(logits: Array) -> Array:
    """Return the best class of every voxel at full resolution.

    logits: at half resolution, axes (channels, slices, rows, columns).
    """
    full = functional.interpolate(
        torch.from_numpy(logits)[None], scale_factor=2.0, mode="trilinear", align_corners=False
    )
    return np.asarray(full[0].argmax(0).to(torch.uint8).numpy())


def compare_labels(labels: Array, expected: Array) -> Agreement:
    """Compare two label maps of the same shape."""
    same = labels == expected
    front = (labels > 0) | (expected > 0)
    dices = {
        s.id: 2 * float(np.count_nonzero(same & (expected == s.value)))
        / float(np.count_nonzero(labels == s.value) + np.count_nonzero(expected == s.value))
        for s in STRUCTURES
        if (expected == s.value).any()
    }  # fmt: skip
    lowest, dice = min(dices.items(), key=lambda item: item[1]) if dices else (None, None)
    return Agreement(
        equal=float(same.mean()),
        equal_foreground=float(same[front].mean()) if front.any() else None,
        lowest_dice=dice,
        lowest_structure=lowest,
        structures=len(dices),
        foreground_voxels=int(np.count_nonzero(expected)),
    )
