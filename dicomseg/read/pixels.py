"""`read_source`: the pixels of a grid as one `Volume`, and the data sets without them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.read.attributes import PIXEL_KEYWORDS
from dicomseg.read.decode import OFFSET_TABLES, Frame, decode_frames, read_with_pixels
from dicomseg.read.geometry_problem import join_names
from dicomseg.read.pixel_errors import (
    PixelsConstant,
    PixelsMissing,
    PixelsNotFinite,
    PixelsWrongSize,
)
from dicomseg.read.series import Grid
from dicomseg.volume import Array, Volume

MAX_VOXELS: Final = 1 << 27
"""128 slices of 1024 × 1024: ten times the paper's volume, half a gigabyte as float32. A hostile header
must not ask for all memory, and compressed pixels may be a thousand times smaller than decoded."""

_DTYPES: Final = {np.dtype(np.int16), np.dtype(np.uint16), np.dtype(np.float32)}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A series with its pixels.

    datasets: without pixel data, in the order of `grid.instances`. volume: axes (slice ascending
    along row × column, row, column), float32 after rescale, int16 or uint16 where there is none.
    Brighter is always larger, and padding has the smallest value of the picture.
    """

    grid: Grid
    datasets: tuple[Dataset, ...]
    volume: Volume


def read_source(grid: Grid) -> Source:
    """Decode every slice of the grid. Raises `SeriesRefused` with the object and the numbers."""
    if np.prod(np.array(grid.shape, dtype=float)) > MAX_VOXELS:
        raise PixelsWrongSize(
            f"{grid.shape} voxels are more than any MR series has; check the header"
        )
    datasets: list[Dataset] = []
    stack = _Stack(grid.shape)
    for instance in grid.instances:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = read_with_pixels(instance)
            for frame in decode_frames(ds, instance, grid):
                stack.add(frame)
        for keyword in (*PIXEL_KEYWORDS, *OFFSET_TABLES):
            if keyword in ds:
                del ds[keyword]
        datasets.append(ds)
    volume = Volume(stack.finished(), grid.affine, grid.frame_of_reference_uid)
    return Source(grid, tuple(datasets), volume)


class _Stack:
    """The volume while its slices come: one array, as int16, uint16 or float32."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape, self._count = shape, 0
        self._array: Array | None = None
        self._padding: dict[int, Array] = {}
        self._mirrors: dict[int, float] = {}

    def add(self, frame: Frame) -> None:
        """Put the next slice."""
        values = frame.values.astype(np.uint16) if frame.values.dtype == np.uint8 else frame.values
        if self._array is None:
            dtype = values.dtype if values.dtype in _DTYPES else np.dtype(np.float32)
            self._array = np.empty(self._shape, dtype)
        elif self._array.dtype not in {values.dtype, np.dtype(np.float32)}:
            self._array = self._array.astype(np.float32)
        self._array[self._count] = values
        if frame.padding is not None:
            self._padding[self._count] = frame.padding
        if frame.mirror is not None:
            self._mirrors[self._count] = frame.mirror
        self._count += 1

    def finished(self) -> Array:
        """Invert, fill the padding, and refuse what no segmentation can use."""
        array = self._array
        if array is None or self._count != self._shape[0]:
            raise PixelsWrongSize(f"{self._count} of {self._shape[0]} slices were decoded")
        if self._mirrors:
            mirror = array.dtype.type(max(self._mirrors.values()))
            for n in self._mirrors:
                np.subtract(mirror, array[n], out=array[n])
        _refuse_infinite(array)
        shown = [
            array[n][~self._padding[n]] if n in self._padding else array[n]
            for n in range(len(array))
        ]
        ends = [(s.min(), s.max()) for s in shown if s.size]
        if not ends:
            raise PixelsConstant(f"all {array.size} voxels are padding; nothing can be seen")
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        if low == high:
            raise PixelsConstant(
                f"all {array.size} voxels are {low:g}; nothing can be seen in the series"
            )
        _refuse_blank(shown)
        for n, mask in self._padding.items():
            array[n][mask] = low
        return array


def _refuse_blank(slices: Sequence[Array]) -> None:
    """Refuse slices without a picture between others: there the network would invent one.

    Before the first and after the last picture they are usual where distortion is corrected.
    """
    pictures = [n for n, s in enumerate(slices) if s.size and s.min() != s.max()]
    if not pictures:
        return
    blank = sorted({*range(pictures[0], pictures[-1])} - {*pictures})
    if blank:
        names = join_names([f"slice {n + 1} of {len(slices)}" for n in blank])
        raise PixelsMissing(f"{names}: all voxels have one value; send the series again")


def _refuse_infinite(array: Array) -> None:
    if array.dtype.kind != "f":
        return
    bad = sum(int(plane.size - np.isfinite(plane).sum()) for plane in array)
    if bad:
        raise PixelsNotFinite(
            f"{bad} of {array.size} voxels are NaN or infinite; use the original series"
        )
