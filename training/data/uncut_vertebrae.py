"""Bodies, arches and disc of a CT label map that labels vertebrae with their arches and no disc.

A vertebra is cut in front of the canal into body and arch; the disc is the gap between the bodies' end plates.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.volume import Array, Points

L4, DISC, L5, CANAL, ARCHES = 1, 2, 3, 4, {1: 51, 3: 53}
_BIN_MM: Final = 1.5
_HIGHEST_MM: Final = 18.0
"""A gap between end plates that is higher is no disc."""
_NEAR_MM: Final = 6.0
"""Of canal above and below a vertebra that says where its front runs."""


def complete(labels: Array, affine: Points) -> Array | None:
    """Return the map with bodies (1, 3), arches (51, 53) and disc (2), or None where that cannot be derived.

    labels: (i, j, k), 1 and 3 are L4 and L5 with their arches, 4 is the canal. affine: index to mm, x left, y back, z up.
    """
    if any(not (labels == value).any() for value in (L4, L5, CANAL)):
        return None
    out = labels.copy()
    canal = _points(np.argwhere(labels == CANAL), affine)
    for value, arch in ARCHES.items():
        index = np.argwhere(labels == value)
        at = _points(index, affine)
        low, high = at[:, 2].min() - _NEAR_MM, at[:, 2].max() + _NEAR_MM
        near = canal[(canal[:, 2] > low) & (canal[:, 2] < high)]
        if len(near) < 20:  # too few to say where the canal runs
            return None
        behind = at[:, 1] > _front_of_canal(near, at[:, 2])
        out[tuple(index[behind].T)] = arch
    out[_between(out, affine)] = DISC
    return out if (out == DISC).any() else None


def _points(index: Array, affine: Points) -> Points:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _front_of_canal(canal: Points, z: Points) -> Points:
    """Return y of the canal's front at heights z, mm: a line through the fronts of its slices."""
    heights = np.unique(canal[:, 2].round(3))
    fronts = [np.percentile(canal[np.abs(canal[:, 2] - h) < 0.1, 1], 5) for h in heights]
    return np.asarray(np.polyval(np.polyfit(heights, fronts, min(1, len(heights) - 1)), z))


def _between(labels: Array, affine: Points) -> Array:
    """Return the voxels between the end plates of L4 and L5, bool (i, j, k)."""
    l4, l5 = (_points(np.argwhere(labels == value), affine) for value in (L4, L5))
    up = l4.mean(axis=0) - l5.mean(axis=0)
    up /= np.linalg.norm(up)
    across = np.cross([0.0, 1.0, 0.0], up)
    across /= np.linalg.norm(across)
    axes = np.column_stack([across, np.cross(up, across), up])
    start = np.vstack([l4, l5]).dot(axes)[:, :2].min(axis=0)
    size = np.ptp(np.vstack([l4, l5]).dot(axes)[:, :2], axis=0) // _BIN_MM + 2
    shape = (int(size[0]), int(size[1]))

    def plate(points: Points, fold: np.ufunc, empty: float) -> Points:
        local = points @ axes
        cell = ((local[:, :2] - start) / _BIN_MM).astype(int)
        height = np.full(shape, empty)
        fold.at(height, (cell[:, 0], cell[:, 1]), local[:, 2])
        return height

    above, below = plate(l4, np.minimum, np.inf), plate(l5, np.maximum, -np.inf)
    gap = np.isfinite(above) & np.isfinite(below) & (above - below < _HIGHEST_MM)
    free = np.argwhere(labels == 0)
    local = _points(free, affine) @ axes
    cell = np.floor((local[:, :2] - start) / _BIN_MM).astype(int)
    inside = ((cell >= 0) & (cell < shape)).all(axis=1)
    free, local, cell = free[inside], local[inside], cell[inside]
    u, v = cell.T
    kept = gap[u, v] & (local[:, 2] > below[u, v]) & (local[:, 2] < above[u, v])
    disc = np.zeros(labels.shape, bool)
    disc[tuple(free[kept].T)] = True
    disc = ndimage.binary_closing(disc, iterations=1) & (labels == 0)
    parts, _ = ndimage.label(disc)
    largest = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + np.argmax(largest)) if len(largest) else disc
