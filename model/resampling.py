"""Index arithmetic between two grids and sampling at fractional indices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

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


def sampled(source: Array, ijk: Array, interpolation: Interpolation) -> Array:
    """Return values (channels, …) of `source` (channels, i, j, k) at fractional indices (…, 3).

    The outermost half voxel repeats the border. Linear values are float32; nearest ones have the source's type.
    """
    points = ijk.reshape(-1, 3)
    if interpolation == "nearest":
        whole = [
            np.clip(np.rint(points[:, axis]), 0, n - 1).astype(np.intp)
            for axis, n in enumerate(source.shape[1:])
        ]
        values = source[:, whole[0], whole[1], whole[2]]
    else:
        values = _linear(source, points)
    return np.asarray(values.reshape(source.shape[0], *ijk.shape[:-1]))


def _linear(source: Array, points: Array) -> Array:
    """Return the trilinear mean of the eight voxels about each point (n, 3): (channels, n) float32.

    One pass over the points for each corner and channel: `map_coordinates` takes each channel's weights again.
    """
    channels = np.ascontiguousarray(source, np.float32).reshape(source.shape[0], -1)
    lowest = np.zeros(len(points), np.intp)
    corners_of_axis = []
    for axis, n in enumerate(source.shape[1:]):
        step = int(np.prod(source.shape[axis + 2 :]))
        at = np.clip(points[:, axis], 0, n - 1)
        low = np.minimum(at.astype(np.intp), max(n - 2, 0))
        part = (at - low).astype(np.float32)
        lowest += low * step
        corners_of_axis.append(((0, 1 - part), (step if n > 1 else 0, part)))
    values = np.zeros((len(channels), len(points)), np.float32)
    with np.errstate(
        invalid="ignore"
    ):  # an infinite voxel times a weight of 0; the window refuses it
        for (i, u), (j, v), (k, w) in itertools.product(*corners_of_axis):
            at, weight = lowest + (i + j + k), u * v * w
            for number, channel in enumerate(channels):
                values[number] += weight * channel.take(at)
    return values
