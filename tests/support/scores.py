"""Class logits between the voxels of their grid, for tests of what makes or removes them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from dicomseg.segmentation import Scores


def logits_at(scores: Scores, lps: np.ndarray) -> np.ndarray:
    """Logits (channels, ...) at LPS points (..., 3), linear between voxels; NaN outside the outermost centres."""
    inverse = np.linalg.inv(scores.affine[:3, :3])
    ijk = ((np.asarray(lps) - scores.affine[:3, 3]) @ inverse.T).reshape(-1, 3).T
    channels = [
        map_coordinates(c, ijk, order=1, mode="constant", cval=np.nan, prefilter=False)
        for c in scores.logits
    ]
    return np.stack(channels).reshape(len(channels), *np.shape(lps)[:-1])
