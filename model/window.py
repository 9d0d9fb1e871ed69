"""The window at L4/5: canonical grid, the paper's crop and z-score, and their exact undo.

One object does it for training and for service. The paper (Wang et al. 2023, §2.2): axial volume of
320 × 320 pixels, crop rows H/4−40 … 3H/4+40 and columns W/4−10 … 3W/4+10 (240 × 180), z-score of the
crop, zero padding to 128 × 240 × 180. Only the part that holds data is computed; the rest of that grid
is padding by definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor
from torch.nn import functional

from dicomseg.segmentation import Labels, Level, Scores
from dicomseg.structures import BY_ID
from dicomseg.volume import AXIAL, Array, Points, Volume, affine_of
from model.errors import WindowRefused

SPACING_MM: Final = (0.8, 0.75, 0.75)
"""Slices, rows, columns of the canonical grid."""
MATRIX: Final = (128, 320, 320)
MULTIPLE: Final = 4
"""The network halves its grid twice."""
SPACING_TOLERANCE: Final = 0.01
"""Relative; below it a source counts as being on the canonical spacing already."""
OBLIQUITY_DEG: Final = 20.0
"""An axial acquisition tilted by up to this much is used as it is: training turns by ±15°, and
interpolation costs sharpness."""
CENTRE_OFFSET_MM: Final = (0.0, 0.0, 0.0)
"""Window centre minus disc centre along slices, rows and columns. Zero: vessels reach 60 mm in front
of the disc centre, the spinous process 75 mm behind it, psoas 70 mm to each side; the crop of
180 × 135 mm about the disc holds them all but the outermost rim of a large psoas."""

LEAST_SD: Final = 1e-6
"""Below this share of the mean the voxels count as constant: rounding of 32-bit numbers."""
SLAB: Final = 8
"""Slices resampled at once; nine channels of a whole volume are never held at full size."""

ROOTS: Final = BY_ID["n4"].value

Interpolation = Literal["linear", "nearest"]
Index = tuple[int, int, int]
Slices = tuple[slice, ...]


def paper_crop(rows: int, columns: int) -> tuple[slice, slice]:
    """Return the paper's crop of an image matrix."""
    return slice(rows // 4 - 40, 3 * rows // 4 + 40), slice(
        columns // 4 - 10, 3 * columns // 4 + 10
    )


_ROWS, _COLUMNS = paper_crop(MATRIX[1], MATRIX[2])
PAPER_SHAPE: Final = (MATRIX[0], _ROWS.stop - _ROWS.start, _COLUMNS.stop - _COLUMNS.start)
"""128 × 240 × 180."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Where the network looks: a box of the paper's grid that holds data.

    affine: index of the box to LPS mm. shape: multiples of 4. start: index of the box in a grid of
    128 × 240 × 180 about the level. turned: the source in axial axis order. offset: for a source on the canonical
    grid, index of the box's first voxel in `turned`; None when the source has to be resampled.
    """

    affine: Points
    shape: Index
    start: Index
    turned: Volume
    offset: Index | None


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What an engine gets: z-scored values (d, h, w) float32, 0 where nothing is; mean and sd undo it.

    centre: index of the level, None for the middle.
    """

    values: Array
    valid: Array
    affine: Points
    mean: float
    sd: float
    centre: tuple[float, float, float] | None = None

    def raw(self) -> Array:
        """Grey values before the z-score, 0 outside the data."""
        return np.where(self.valid, self.values.astype(np.float64) * self.sd + self.mean, 0.0)


def _is_canonical(turned: Volume) -> bool:
    spacing = np.array(turned.spacing_mm)
    cosines = np.sum(turned.directions * AXIAL, axis=0)
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


def place(volume: Volume, level: Level) -> Window:
    """Place the paper's window about the L4/5 disc of a volume of any orientation."""
    turned = volume.oriented(AXIAL)
    if _is_canonical(turned):
        steps = np.array(CENTRE_OFFSET_MM) / turned.spacing_mm
        centre = np.round(turned.to_index(np.array(level.centre_lps)) + steps).astype(int)
        first = centre - np.array(PAPER_SHAPE) // 2
        start, stop = _tight(-first, np.array(turned.shape) - first)
        offset = first + start
        affine = turned.affine.copy()
        affine[:3, 3] = turned.to_patient(offset)
        i, j, k = (int(v) for v in offset)
        return Window(affine, _three(stop - start), _three(start), turned, (i, j, k))
    half = (np.array(PAPER_SHAPE) // 2) * SPACING_MM
    origin = np.array(level.centre_lps) + AXIAL @ (np.array(CENTRE_OFFSET_MM) - half)
    grid = affine_of(AXIAL, SPACING_MM, tuple(origin))
    corners = _mapped(_corners(turned.shape), turned.affine, grid)
    start, stop = _tight(
        np.ceil(corners.min(0)).astype(int), np.floor(corners.max(0)).astype(int) + 1
    )
    grid[:3, 3] += grid[:3, :3] @ start
    return Window(grid, _three(stop - start), _three(start), turned, None)


def _corners(shape: tuple[int, ...]) -> Array:
    """Index of the eight outer corners of a grid's voxels, (8, 3)."""
    ends = np.meshgrid(*((-0.5, n - 0.5) for n in shape), indexing="ij")
    return np.stack(ends, axis=-1).reshape(8, 3)


def _mapped(ijk: Array, source: Points, target: Points) -> Points:
    """Index points (..., 3) of the grid with affine `source` as index points of `target`."""
    between = np.linalg.inv(target) @ source
    return np.asarray(ijk @ between[:3, :3].T + between[:3, 3])


def _around(volume: Volume, shape: Index, affine: Points) -> tuple[Index, Index]:
    """Start and stop of the index box of `volume` that covers another grid, with a voxel to spare."""
    index = _mapped(_corners(shape), affine, volume.affine)
    start = np.clip(np.floor(index.min(0)).astype(int) - 1, 0, volume.shape)
    stop = np.clip(np.ceil(index.max(0)).astype(int) + 2, 0, volume.shape)
    return _three(start), _three(stop)


def _three(values: Array) -> Index:
    i, j, k = (int(v) for v in values)
    return i, j, k


def _view(window: Window, offset: Index) -> tuple[Array, Array]:
    """Integer-voxel view of a source that is on the canonical grid already."""
    values, valid = np.zeros(window.shape, np.float32), np.zeros(window.shape, bool)
    there, here = _overlap(offset, window.shape, window.turned.shape)
    values[here], valid[here] = window.turned.array[there], True
    return values, valid


def _overlap(offset: Index, shape: Index, source: Index) -> tuple[Slices, Slices]:
    """Where a box at `offset` and its source overlap: slices into the source, slices into the box."""
    there = [(max(0, o), min(n, o + s)) for o, s, n in zip(offset, shape, source, strict=True)]
    here = [slice(a - o, b - o) for (a, b), o in zip(there, offset, strict=True)]
    return tuple(slice(a, b) for a, b in there), tuple(here)


def _tensor(array: Array) -> Tensor:
    """The array itself where torch can take it, else a copy: torch wants writable, contiguous float32."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def _sampled(source: Tensor, ijk: Array, interpolation: Interpolation) -> Array:
    """Values (channels, …) of `source` (channels, i, j, k) at fractional indices (…, 3); the outermost
    half voxel repeats the border.
    """
    size = np.array(source.shape[1:], dtype=np.float32)
    unit = ((ijk.astype(np.float32) + 0.5) / size * 2 - 1)[..., ::-1].reshape(1, 1, 1, -1, 3)
    mode = "bilinear" if interpolation == "linear" else "nearest"
    out = functional.grid_sample(
        source[None],
        torch.from_numpy(np.ascontiguousarray(unit)),
        mode=mode,
        padding_mode="border",
        align_corners=False,
    )
    return np.asarray(out.numpy().reshape(source.shape[0], *ijk.shape[:-1]))


def _slices(shape: tuple[int, ...], first: int, last: int) -> Array:
    """Index triplets (n, j, k, 3) of slices first … last−1 of a grid."""
    return np.stack(
        np.meshgrid(np.arange(first, last), *(np.arange(n) for n in shape[1:]), indexing="ij"), -1
    )


def _resampled(window: Window, interpolation: Interpolation) -> tuple[Array, Array]:
    values, valid = np.zeros(window.shape, np.float32), np.zeros(window.shape, bool)
    box = window.turned.box(*_around(window.turned, window.shape, window.affine))
    if 0 in (*window.shape, *box.shape):
        return values, valid
    source = _tensor(box.array)[None]
    limit = np.array(box.shape) - 0.5
    for i in range(0, window.shape[0], SLAB):
        last = min(i + SLAB, window.shape[0])
        ijk = _mapped(_slices(window.shape, i, last), window.affine, box.affine)
        inside = np.all((ijk >= -0.5) & (ijk <= limit), axis=-1)
        valid[i:last] = inside
        values[i:last] = np.where(inside, _sampled(source, ijk, interpolation)[0], 0.0)
    return values, valid


def _centre(window: Window) -> tuple[float, float, float]:
    """Index of the level in the window's box; `place` rounds it to a voxel or puts it on one."""
    i, j, k = (
        float(n // 2 - o / s - b)
        for n, o, s, b in zip(PAPER_SHAPE, CENTRE_OFFSET_MM, SPACING_MM, window.start, strict=True)
    )
    return i, j, k


def cut(window: Window, interpolation: Interpolation = "linear") -> Patch:
    """Cut the window out of its source and z-score it over the voxels that hold data.

    Raises:
        WindowRefused: the window lies outside the image or its voxels are constant or not finite.
    """
    values, valid = (
        _resampled(window, interpolation) if window.offset is None else _view(window, window.offset)
    )
    inside = values[valid]
    if inside.size == 0:
        raise WindowRefused(
            "the window at L4/5 lies outside the image; send a series that shows the level"
        )
    bad = inside.size - int(np.count_nonzero(np.isfinite(inside)))
    if bad:
        raise WindowRefused(f"{bad} voxels at L4/5 are not finite numbers; resend the series")
    mean, sd = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    if sd < LEAST_SD * max(1.0, abs(mean)):
        raise WindowRefused(f"the voxels at L4/5 are constant ({mean:.3g}); resend the series")
    scored = np.where(valid, (values - np.float32(mean)) / np.float32(sd), np.float32(0.0))
    return Patch(scored, valid, window.affine, mean, sd, _centre(window))


def scores_of(patch: Patch, logits: Array) -> Scores:
    """Give logits (channels, d/f, h/f, w/f) the affine of their own grid; f is 1 or 2.

    A coarse voxel n is centred at fine index f·n + (f − 1)/2.
    """
    factor = np.array(patch.values.shape) // np.array(logits.shape[1:])
    affine = patch.affine.copy()
    affine[:3, :3] = patch.affine[:3, :3] * factor
    affine[:3, 3] = patch.affine[:3, :3] @ ((factor - 1) / 2) + patch.affine[:3, 3]
    return Scores(logits, affine)


def paper_grid(patch: Patch) -> Array:
    """The paper's 128 × 240 × 180 array: the patch first, zero padding at the end of each axis."""
    out = np.zeros(PAPER_SHAPE, np.float32)
    out[tuple(slice(n) for n in patch.values.shape)] = patch.values
    return out


def _best_on_patch(logits: Array, shape: Index, roots: Array | None) -> Array:
    """Best class of every voxel of the box, a root over all.

    Where a voxel of the logits' grid and all its neighbours agree, so does every mean of their logits: interpolated
    is only the rest, in a typical window one in seven.
    """
    fields = np.array(logits)
    if roots is not None:
        fields[ROOTS] = -np.inf
    coarse = fields.argmax(0).astype(np.uint8)
    factor = np.array(shape) // coarse.shape
    unlike = maximum_filter(coarse, 3) != minimum_filter(coarse, 3)
    best, mixed = (
        array.repeat(factor[0], 0).repeat(factor[1], 1).repeat(factor[2], 2)
        for array in (coarse, unlike)
    )
    at = np.argwhere(mixed)
    if len(at) and factor.max() > 1:
        sampled = _sampled(_tensor(logits), (at + 0.5) / factor - 0.5, "linear")
        if roots is not None:
            sampled[ROOTS] = -np.inf
        best[mixed] = sampled.argmax(0)
    if roots is not None:
        best[roots > 0] = ROOTS
    return np.asarray(best)


def restore(
    volume: Volume, window: Window, patch: Patch, scores: Scores, roots: Array | None = None
) -> Labels:
    """Labels on the source grid: argmax of the interpolated logits; `analysed_mask` is the window.

    volume: the source as it was given. Voxels outside the window are 0 and not looked at. roots: logit of "L4 root"
    (d, h, w) on the patch, which then alone decides what is one.
    """
    if window.offset is not None:
        return _restore_view(volume, window, window.offset, patch, scores, roots)
    start, stop = _around(volume, window.shape, window.affine)
    box = volume.box(start, stop)
    found, seen = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, bool)
    limit = np.array(window.shape) - 0.5
    logits = _tensor(scores.logits)
    for i in range(0, box.shape[0], SLAB):
        last = min(i + SLAB, box.shape[0])
        ijk = _slices(box.shape, i, last)
        at = _mapped(ijk, box.affine, window.affine)
        inside = np.all((at >= -0.5) & (at <= limit), axis=-1)
        coarse = _mapped(ijk[inside], box.affine, scores.affine)
        best = np.zeros(inside.shape, np.uint8)
        if len(coarse):
            best[inside] = _best_at(logits, coarse, at[inside], roots)
        first = slice(start[0] + i, start[0] + last)
        here = (first, slice(start[1], stop[1]), slice(start[2], stop[2]))
        found[here], seen[here] = best, inside
    return Labels(volume.with_array(found), seen)


def _best_at(logits: Tensor, coarse: Array, fine: Array, roots: Array | None) -> Array:
    """Best class at index points (n, 3), once of the logits' grid and once of the patch."""
    values = _sampled(logits, coarse, "linear")
    if roots is None:
        return np.asarray(values.argmax(0))
    values[ROOTS] = -np.inf
    is_root = _sampled(_tensor(roots)[None], fine, "linear")[0] > 0
    return np.where(is_root, ROOTS, values.argmax(0))


def _restore_view(
    volume: Volume,
    window: Window,
    offset: Index,
    patch: Patch,
    scores: Scores,
    roots: Array | None,
) -> Labels:
    best = _best_on_patch(scores.logits, window.shape, roots)
    shape = window.turned.shape
    found, seen = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    there, here = _overlap(offset, window.shape, shape)
    found[there], seen[there] = best[here], patch.valid[here]
    turned = Volume(found, window.turned.affine).oriented(volume.directions)
    mask = Volume(seen, window.turned.affine).oriented(volume.directions)
    return Labels(
        volume.with_array(np.ascontiguousarray(turned.array)), np.ascontiguousarray(mask.array)
    )
