"""The window at L4/5: the paper's crop and z-score on the canonical grid, and their exact inverse.

One class serves training and service. Only the part of the paper's 128 × 240 × 180 grid that holds data is computed;
the rest is padding by definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from dicomseg.segmentation import Labels, Level
from dicomseg.volume import AXIAL, Array, Points, Volume, build_affine
from model.errors import WindowRefused
from model.grid import (
    CENTRE_OFFSET_MM,
    MULTIPLE,
    OBLIQUITY_DEG,
    PAPER_SHAPE,
    SPACING_MM,
    SPACING_TOLERANCE,
    Index,
)
from model.patch import FineLogit, Interpolation, Patch, Prediction
from model.resampling import (
    box_around,
    corners,
    index_of,
    mapped,
    overlap,
    sampled,
    slab_indices,
)

MIN_SD: Final = 1e-6
"""Below this share of the mean the voxels count as constant: rounding of 32-bit numbers."""
SLAB: Final = 8
"""Slices resampled at once; nine channels of a complete volume are never held at full size."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Where the network looks: the box of the paper's grid that holds data.

    source: the volume as given, any orientation.
    axial: the source in axial axis order, a view.
    affine: (4, 4), index of the box to LPS mm.
    shape: voxels of the box along (slices, rows, columns), multiples of 4.
    start: index of the box in the paper's grid of 128 × 240 × 180 about the level.
    offset: of a source on the canonical grid, the index of the box's origin in `axial`; None for a source that has
    to be resampled.
    """

    source: Volume
    axial: Volume
    affine: Points
    shape: Index
    start: Index
    offset: Index | None

    @classmethod
    def at(cls, volume: Volume, level: Level) -> Window:
        """Centre the paper's window on the L4/5 disc of a volume of any orientation."""
        axial = volume.oriented(AXIAL)
        if _is_canonical(axial):
            steps = np.array(CENTRE_OFFSET_MM) / axial.spacing_mm
            centre = np.round(axial.to_index(np.array(level.centre_lps)) + steps).astype(int)
            origin = centre - np.array(PAPER_SHAPE) // 2
            start, stop = _tight(-origin, np.array(axial.shape) - origin)
            offset = index_of(origin + start)
            affine = axial.affine.copy()
            affine[:3, 3] = axial.to_patient(np.array(offset))
            return cls(volume, axial, affine, index_of(stop - start), index_of(start), offset)
        half = (np.array(PAPER_SHAPE) // 2) * SPACING_MM
        corner = np.array(level.centre_lps) + AXIAL @ (np.array(CENTRE_OFFSET_MM) - half)
        grid = build_affine(AXIAL, SPACING_MM, tuple(corner))
        ends = mapped(corners(axial.shape), axial.affine, grid)
        start, stop = _tight(
            np.ceil(ends.min(0)).astype(int), np.floor(ends.max(0)).astype(int) + 1
        )
        grid[:3, 3] += grid[:3, :3] @ start
        return cls(volume, axial, grid, index_of(stop - start), index_of(start), None)

    @property
    def centre(self) -> tuple[float, float, float]:
        """Return the index of the level in the box: `at` rounds it to a voxel or puts a voxel on it."""
        i, j, k = (
            float(n // 2 - o / s - b)
            for n, o, s, b in zip(
                PAPER_SHAPE, CENTRE_OFFSET_MM, SPACING_MM, self.start, strict=True
            )
        )
        return i, j, k

    def cut(self, interpolation: Interpolation = "linear") -> Patch:
        """Cut the box out of the source and z-score it over the voxels that hold data.

        Raises:
            WindowRefused: the box lies outside the image or its voxels are constant or not finite.
        """
        values, valid = self._resampled(interpolation) if self.offset is None else self._view()
        inside = values[valid]
        if inside.size == 0:
            raise WindowRefused(
                "the window at L4/5 lies outside the image; send a series that shows the level"
            )
        bad = inside.size - int(np.count_nonzero(np.isfinite(inside)))
        if bad:
            raise WindowRefused(f"{bad} voxels at L4/5 are not finite numbers; resend the series")
        mean, sd = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        if sd < MIN_SD * max(1.0, abs(mean)):
            raise WindowRefused(f"the voxels at L4/5 are constant ({mean:.3g}); resend the series")
        z_scores = np.where(valid, (values - np.float32(mean)) / np.float32(sd), np.float32(0.0))
        return Patch(z_scores, valid, self.affine, mean, sd, self.centre)

    def paint(self, prediction: Prediction) -> Labels:
        """Return labels on the source grid: argmax of the interpolated scores; `analysed_mask` is the window.

        Voxels outside the window are 0 and not looked at. A fine logit alone decides about its structure.
        """
        if self.offset is None:
            return self._painted_resampled(prediction)
        return self._painted_view(self.offset, prediction)

    def _view(self) -> tuple[Array, Array]:
        """Return the voxels of a source on the canonical grid, and where it holds data."""
        values, valid = np.zeros(self.shape, np.float32), np.zeros(self.shape, bool)
        if self.offset is not None:
            source, box = overlap(self.offset, self.shape, self.axial.shape)
            values[box], valid[box] = self.axial.array[source], True
        return values, valid

    def _resampled(self, interpolation: Interpolation) -> tuple[Array, Array]:
        values, valid = np.zeros(self.shape, np.float32), np.zeros(self.shape, bool)
        box = self.axial.box(*box_around(self.axial, self.shape, self.affine))
        if 0 in (*self.shape, *box.shape):
            return values, valid
        source = np.asarray(box.array)[None]
        limit = np.array(box.shape) - 0.5
        for i in range(0, self.shape[0], SLAB):
            last = min(i + SLAB, self.shape[0])
            ijk = mapped(slab_indices(self.shape, i, last), self.affine, box.affine)
            inside = np.all((ijk >= -0.5) & (ijk <= limit), axis=-1)
            valid[i:last] = inside
            values[i:last] = np.where(inside, sampled(source, ijk, interpolation)[0], 0.0)
        return values, valid

    def _painted_view(self, offset: Index, prediction: Prediction) -> Labels:
        best = best_on_patch(prediction.scores.logits, self.shape, prediction.fine)
        shape = self.axial.shape
        labels, analysed_mask = np.zeros(shape, np.uint8), np.zeros(shape, bool)
        source, box = overlap(offset, self.shape, shape)
        labels[source], analysed_mask[source] = best[box], True
        directions = self.source.directions
        painted = Volume(labels, self.axial.affine).oriented(directions)
        mask = Volume(analysed_mask, self.axial.affine).oriented(directions)
        return Labels(
            self.source.with_array(np.ascontiguousarray(painted.array)),
            np.ascontiguousarray(mask.array),
        )

    def _painted_resampled(self, prediction: Prediction) -> Labels:
        volume, scores = self.source, prediction.scores
        start, stop = box_around(volume, self.shape, self.affine)
        box = volume.box(start, stop)
        labels, analysed_mask = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, bool)
        limit = np.array(self.shape) - 0.5
        for i in range(0, box.shape[0], SLAB):
            last = min(i + SLAB, box.shape[0])
            ijk = slab_indices(box.shape, i, last)
            fine = mapped(ijk, box.affine, self.affine)
            inside = np.all((fine >= -0.5) & (fine <= limit), axis=-1)
            coarse = mapped(ijk[inside], box.affine, scores.affine)
            best = np.zeros(inside.shape, np.uint8)
            if len(coarse):
                best[inside] = _best_at(scores.logits, coarse, fine[inside], prediction.fine)
            slab = slice(start[0] + i, start[0] + last)
            target = (slab, slice(start[1], stop[1]), slice(start[2], stop[2]))
            labels[target], analysed_mask[target] = best, inside
        return Labels(volume.with_array(labels), analysed_mask)


def _is_canonical(axial: Volume) -> bool:
    spacing = np.array(axial.spacing_mm)
    cosines = np.sum(axial.directions * AXIAL, axis=0)
    return bool(
        np.all(np.abs(spacing / SPACING_MM - 1) <= SPACING_TOLERANCE)
        and np.all(cosines >= np.cos(np.deg2rad(OBLIQUITY_DEG)))
    )


def _tight(low: Array, high: Array) -> tuple[Array, Array]:
    """Clip a box to the paper's grid and round its size up to multiples of 4 inside it."""
    limit = np.array(PAPER_SHAPE)
    start, stop = np.clip(low, 0, limit), np.clip(high, 0, limit)
    size = -(-(stop - start) // MULTIPLE) * MULTIPLE
    start = np.minimum(start, limit - size)
    return start, start + size


def best_on_patch(logits: Array, shape: Index, fine: FineLogit | None) -> Array:
    """Return the best class of every voxel of the patch, uint8 of this shape.

    logits: (channels, d/f, h/f, w/f). fine: overrides the other classes where it is above 0.

    Where a voxel of the logits' grid and all its neighbours agree, so does every mean of their logits: only the rest
    is interpolated, in a typical window one voxel in seven.
    """
    fields = np.array(logits)
    if fine is not None:
        fields[fine.channel] = -np.inf
    coarse = fields.argmax(0).astype(np.uint8)
    factor = np.array(shape) // coarse.shape
    unlike = maximum_filter(coarse, 3) != minimum_filter(coarse, 3)
    best, mixed = (
        array.repeat(factor[0], 0).repeat(factor[1], 1).repeat(factor[2], 2)
        for array in (coarse, unlike)
    )
    index = np.argwhere(mixed)
    if len(index) and factor.max() > 1:
        values = sampled(logits, (index + 0.5) / factor - 0.5, "linear")
        if fine is not None:
            values[fine.channel] = -np.inf
        best[mixed] = values.argmax(0)
    if fine is not None:
        best[fine.logit > 0] = fine.channel
    return np.asarray(best)


def _best_at(logits: Array, coarse: Array, patch: Array, fine: FineLogit | None) -> Array:
    """Return the best class at points (n, 3), given as indices of the logits' grid and of the patch."""
    values = sampled(logits, coarse, "linear")
    if fine is None:
        return np.asarray(values.argmax(0))
    values[fine.channel] = -np.inf
    is_fine = sampled(fine.logit[None], patch, "linear")[0] > 0
    return np.where(is_fine, fine.channel, values.argmax(0))
