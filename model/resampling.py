"""Index arithmetic between two grids and sampling at fractional indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomseg.volume import Array, Points, Volume
from model.grid import Index
from model.patch import Interpolation

Slices = tuple[slice, ...]


def index_of(values: Array) -> Index:
    """Return three whole numbers as an index."""
    i, j, k = (int(v) for v in values)
    return i, j, k


def corners(shape: Sequence[int]) -> Array:
    """Return the index points (8, 3) of the eight outer corners of a grid's voxels."""
    ends = np.meshgrid(*((-0.5, n - 0.5) for n in shape), indexing="ij")
    return np.stack(ends, axis=-1).reshape(8, 3)


def mapped(ijk: Array, source: Points, target: Points) -> Points:
    """Return index points (..., 3) of the grid with affine `source` as index points of `target`."""
    between = np.linalg.inv(target) @ source
    return np.asarray(ijk @ between[:3, :3].T + between[:3, 3])


def box_around(volume: Volume, shape: Index, affine: Points) -> tuple[Index, Index]:
    """Return start and stop of the index box of `volume` that covers another grid, with a voxel to spare."""
    index = mapped(corners(shape), affine, volume.affine)
    start = np.clip(np.floor(index.min(0)).astype(int) - 1, 0, volume.shape)
    stop = np.clip(np.ceil(index.max(0)).astype(int) + 2, 0, volume.shape)
    return index_of(start), index_of(stop)


def overlap(offset: Index, shape: Index, source: Index) -> tuple[Slices, Slices]:
    """Return where a box at `offset` and its source overlap: slices of the source, slices of the box."""
    ends = [(max(0, o), min(n, o + s)) for o, s, n in zip(offset, shape, source, strict=True)]
    box = [slice(a - o, b - o) for (a, b), o in zip(ends, offset, strict=True)]
    return tuple(slice(a, b) for a, b in ends), tuple(box)


def slab_indices(shape: Sequence[int], start: int, stop: int) -> Array:
    """Return the index triplets (n, j, k, 3) of slices start … stop−1 of a grid."""
    return np.stack(
        np.meshgrid(np.arange(start, stop), *(np.arange(n) for n in shape[1:]), indexing="ij"), -1
    )


def to_tensor(array: Array) -> Tensor:
    """Return the array itself where torch accepts it, else a copy: torch wants writable, contiguous float32."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def sampled(source: Tensor, ijk: Array, interpolation: Interpolation) -> Array:
    """Return values (channels, …) of `source` (channels, i, j, k) at fractional indices (…, 3).

    The outermost half voxel repeats the border.
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
