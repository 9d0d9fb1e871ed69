"""The class logits around a place, sampled on planes and along lines; LPS mm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.measure.plane import Raster, to_lps
from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
from dicomseg.volume import Array, Points

COARSE_GRID_MM: Final = 1.0
"""Axes of the scores coarser than this get a cubic midpoint between any two voxels before they are
sampled linearly: on smooth phantoms at 1.6 mm the largest error falls from 0.09 to 0.03 mm."""

OUTLINE_SHIFT: Final = 2.0
"""By how much, in logits, every structure's margin is raised and lowered to see how far a value moves: e² to 1 for the
next one."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreField:
    """The logits around a place, ready to be sampled on planes and along lines.

    logits: (channels, i, j, k); affine: index to LPS mm; voxel_mm: of the scores as they came.
    """

    logits: Array
    affine: Points
    voxel_mm: float
    seg: Segmentation

    @classmethod
    def around(cls, seg: Segmentation, points_lps: Points, margin_mm: float) -> ScoreField:
        """Crop the scores to the box of the points and a margin; refine axes that are coarse."""
        affine = np.array(seg.scores.affine, dtype=np.float64)
        inverse = np.linalg.inv(affine[:3, :3])
        index = (points_lps.reshape(-1, 3) - affine[:3, 3]) @ inverse.T
        rim = margin_mm * np.linalg.norm(inverse, axis=1) + 2
        size = np.array(seg.scores.logits.shape[1:])
        start = np.clip(np.floor(index.min(axis=0) - rim).astype(int), 0, size - 1)
        stop = np.clip(np.ceil(index.max(axis=0) + rim).astype(int) + 1, start + 1, size)
        box = tuple(slice(int(p), int(q)) for p, q in zip(start, stop, strict=True))
        logits = seg.scores.logits[(slice(None), *box)]
        affine[:3, 3] += affine[:3, :3] @ start
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        for axis in map(int, np.flatnonzero(spacing > COARSE_GRID_MM)):
            logits = _with_midpoints(logits, axis + 1)
            affine[:3, axis] /= 2
        return cls(logits, affine, float(spacing.min()), seg)

    def along(self, feet_lps: Points, direction: Points, steps_mm: Array) -> Array:
        """Sample logits (channels, lines, steps) on parallel lines; continued beyond the end of the grid."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        start = (feet_lps - self.affine[:3, 3]) @ inverse.T
        index = start.T[:, :, None] + (inverse @ direction)[:, None, None] * steps_mm
        lines = [ndimage.map_coordinates(c, index, np.float32, 1, "nearest") for c in self.logits]
        return np.stack(lines)

    def sample(self, plane: Plane, raster: Raster) -> Array:
        """Sample logits (channels, a, b) on a raster; continued beyond the end of the grid."""
        matrix, offset = _raster_to_index(self.affine, plane, raster)
        shape = (*raster.shape, 1)
        planes = [
            ndimage.affine_transform(c, matrix, offset, shape, np.float32, 1, "nearest")[..., 0]
            for c in self.logits
        ]
        return np.stack(planes)

    def in_field_of_view(self, plane: Plane, raster: Raster) -> Array:
        """Return a mask (a, b): inside the scores' grid, inside the image, and analysed."""
        inside = _inside(self.affine, self.logits.shape[1:], plane, raster, 0.0)
        labels = self.seg.labels
        inside &= _inside(labels.volume.affine, labels.volume.shape, plane, raster, 0.5)
        analysed: Array = _nearest(labels.analysed_mask, labels.volume.affine, plane, raster)
        return inside & analysed

    def labels_at(self, plane: Plane, raster: Raster) -> Array:
        """Return the label values (a, b) of the nearest source voxel."""
        volume = self.seg.labels.volume
        return _nearest(volume.array, volume.affine, plane, raster)


def look_up(seg: Segmentation, points_lps: Points) -> tuple[Array, Array]:
    """Look points (n, 3) up in a segmentation.

    Returns whether each lies inside the scores' grid, the image and what was analysed, and the label of its voxel.
    """
    inverse = np.linalg.inv(seg.scores.affine)
    index = points_lps @ inverse[:3, :3].T + inverse[:3, 3]
    in_view = ((index >= 0) & (index <= np.array(seg.scores.logits.shape[1:]) - 1)).all(axis=1)
    volume = seg.labels.volume
    voxel = np.rint(volume.to_index(points_lps)).astype(np.intp)
    in_view &= ((voxel >= 0) & (voxel < volume.shape)).all(axis=1)
    nearest = tuple(np.clip(voxel, 0, np.array(volume.shape) - 1).T)
    return in_view & seg.labels.analysed_mask[nearest], volume.array[nearest]


def _with_midpoints(array: Array, axis: int) -> Array:
    """Put the cubic midpoint (−1, 9, 9, −1)/16 between any two neighbours along one axis; the ends are repeated."""
    count = array.shape[axis]
    shape = list(array.shape)
    shape[axis] = 2 * count - 1
    out = np.empty(shape, dtype=np.float32)  # in the order of the input: the last axis stays fast
    lines, wide = np.moveaxis(array, axis, -1), np.moveaxis(out, axis, -1)
    wide[..., 0::2] = lines
    middle = lines[..., :-1] + lines[..., 1:]
    middle *= 9
    middle[..., 1:] -= lines[..., :-2]
    middle[..., :-1] -= lines[..., 2:]
    middle[..., :1] -= lines[..., :1]
    middle[..., -1:] -= lines[..., -1:]
    middle /= 16
    wide[..., 1::2] = middle
    return out


def _raster_to_index(affine: Points, plane: Plane, raster: Raster) -> tuple[Points, Points]:
    inverse = np.linalg.inv(affine[:3, :3])
    axes = np.array([plane.e_left, plane.e_back, plane.normal]).T * raster.step_mm
    origin = to_lps(plane, np.array([raster.a_mm, raster.b_mm]))
    return inverse @ axes, inverse @ (origin - affine[:3, 3])


def _index_lines(affine: Points, plane: Plane, raster: Raster) -> list[tuple[Array, Array]]:
    """Per index axis: its value along a (column) and along b (row), to be added by broadcasting."""
    matrix, offset = _raster_to_index(affine, plane, raster)
    a, b = (np.arange(n) for n in raster.shape)
    return [(offset[n] + matrix[n, 0] * a[:, None], matrix[n, 1] * b[None, :]) for n in range(3)]


def _inside(
    affine: Points, shape: Collection[int], plane: Plane, raster: Raster, rim: float
) -> Array:
    inside = np.ones(raster.shape, dtype=bool)
    for (a, b), n in zip(_index_lines(affine, plane, raster), shape, strict=True):
        index = a + b
        inside &= (index >= -rim) & (index <= n - 1 + rim)
    return inside


def _nearest(array: Array, affine: Points, plane: Plane, raster: Raster) -> Array:
    lines = _index_lines(affine, plane, raster)
    index = [
        np.clip(np.rint(a + b).astype(np.intp), 0, n - 1)
        for (a, b), n in zip(lines, array.shape, strict=True)
    ]
    values: Array = array[tuple(index)]
    return values
