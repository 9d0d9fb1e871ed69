"""What a network receives and what it predicts: arrays with the geometry to bring them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dicomseg.segmentation import Scores
from dicomseg.volume import Array, Points
from model.grid import PAPER_SHAPE

Interpolation = Literal["linear", "nearest"]
"""How grey values are resampled; label codes must not be mixed."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The window's grey values as a network receives them, axes (slices, rows, columns).

    values: z-scored, (d, h, w) float32, 0 outside the data.
    valid: (d, h, w) bool, True where the source holds data.
    affine: (4, 4), index of the patch to LPS mm.
    mean, sd: of the grey values; they undo the z-score.
    centre: index of the level; None for the middle of the patch.
    """

    values: Array
    valid: Array
    affine: Points
    mean: float
    sd: float
    centre: tuple[float, float, float] | None = None

    def raw(self) -> Array:
        """Return the grey values before the z-score, (d, h, w) float64, 0 outside the data."""
        return np.where(self.valid, self.values.astype(np.float64) * self.sd + self.mean, 0.0)

    def scores(self, logits: Array) -> Scores:
        """Return logits (channels, d/f, h/f, w/f) with the affine of their own grid; f is 1 or 2.

        A coarse voxel n is centred at index f·n + (f − 1)/2 of the patch.
        """
        factor = np.array(self.values.shape) // np.array(logits.shape[1:])
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * factor
        affine[:3, 3] = self.affine[:3, :3] @ ((factor - 1) / 2) + self.affine[:3, 3]
        return Scores(logits, affine)

    def on_paper_grid(self) -> Array:
        """Return the paper's 128 × 240 × 180 array: the values, then zero padding at the end of each axis."""
        out = np.zeros(PAPER_SHAPE, np.float32)
        out[tuple(slice(n) for n in self.values.shape)] = self.values
        return out


@dataclass(frozen=True, slots=True, eq=False)
class FineLogit:
    """One structure's logit at full resolution: it alone decides which voxels belong to the structure.

    channel: the structure's channel in the logits.
    logit: (d, h, w) float32 on the patch; above 0 is the structure.
    """

    channel: int
    logit: Array


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the networks predict for one patch.

    logits: of the segmentation network as computed, (channels, d/f, h/f, w/f) float32, f is 1 or 2.
    scores: the logits that are painted and measured, with their affine; the refined structure's channel holds the
    mean of its fine logit.
    fine: the refined structure at full resolution; None without refinement.
    """

    logits: Array
    scores: Scores
    fine: FineLogit | None = None
