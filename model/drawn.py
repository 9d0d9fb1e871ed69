"""Labels that a person drew, in the form of a prediction, so that the same code measures them.

A label map holds no outline between voxels, so such values are themselves uncertain by about 0.1 mm (0.5 mm at
worst), and gaps below 0.4 mm may read as touch.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.structures import CHANNELS
from dicomseg.volume import Array, Volume
from model.plausibility import outside_view
from model.postprocess import split_sides

SHARPNESS: Final = 10.0
"""Logits per unit of the smoothed masks; outlines do not depend on it."""
HALF_SIZE_MM: Final = (81.5, 104.0, 45.0)
"""How far from the level labels are turned into scores, along x, y and z: the window of the network across, the plane
and its tilted neighbours along the spine."""
NO_ENGINE: Final = EngineInfo("reference", "1", "", "labels", "exact")


def drawn_segmentation(volume: Volume, level: Level) -> Segmentation:
    """Return labels in the form of a prediction. volume: structure values, uint8, to be measured completely."""
    labels = Labels(volume, np.ones(volume.shape, bool))
    scores = Scores(smooth_logits(volume.array), volume.affine)
    sides, outside = split_sides(volume), outside_view(labels, level)
    return Segmentation(level, labels, sides, scores, NO_ENGINE, outside_view=outside)


def near_level(volume: Volume, level: Level) -> Volume:
    """Return the part of a volume of any orientation that is needed to measure at a level."""
    half = np.array(HALF_SIZE_MM)
    corners = np.array(np.meshgrid(*[(-h, h) for h in half])).reshape(3, -1).T
    index = volume.to_index(np.array(level.centre_lps) + corners)
    size = np.array(volume.shape)
    start = np.clip(np.floor(index.min(axis=0)), 0, size - 1).astype(int)
    stop = np.clip(np.ceil(index.max(axis=0)) + 1, start + 1, size).astype(int)
    return volume.box(start.tolist(), stop.tolist())


def smooth_logits(labels: Array) -> Array:
    """Return logits (channels, i, j, k) float32 of a label map: each mask smoothed by 2 G(1) − G(√2), σ in voxels.

    The compensated filter has no second moment, so that curved outlines shrink little.
    """
    out = np.empty((CHANNELS, *labels.shape), np.float32)
    for channel in range(CHANNELS):
        mask = (labels == channel).astype(np.float32)
        narrow = ndimage.gaussian_filter(mask, 1.0, mode="nearest", truncate=3.0)
        wide = ndimage.gaussian_filter(mask, 2**0.5, mode="nearest", truncate=3.0)
        out[channel] = SHARPNESS * (2 * narrow - wide)
    return out
