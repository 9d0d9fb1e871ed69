"""`load`: the pixels of a grid as one `Volume`, and the data sets without them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomseg import elements
from dicomseg.errors import SeriesRefused
from dicomseg.instance import Instance
from dicomseg.series import Grid
from dicomseg.volume import Array, Volume

MAX_VOXELS: Final = 1 << 29
"""Half a gigavoxel, 40 × the paper's volume: a hostile header must not ask for all memory."""

_DECODE_ERRORS: Final = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
)


class PixelsUndecodable(SeriesRefused):
    """The pixel data of one object cannot be decoded; send it again or in another transfer syntax."""

    code = "pixels-undecodable"


class PixelsWrongSize(SeriesRefused):
    """The decoded pixels do not have the size the header says; send the object again."""

    code = "pixels-wrong-size"


class PixelsNotGrey(SeriesRefused):
    """The pixels are colours or inverted; use the original MR series."""

    code = "pixels-not-grey"


class PixelsConstant(SeriesRefused):
    """All voxels have one value; nothing can be seen in the series."""

    code = "pixels-constant"


class PixelsNotFinite(SeriesRefused):
    """Voxels are NaN or infinite; use the original MR series."""

    code = "pixels-not-finite"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A series with its pixels.

    datasets: without pixel data, in the order of `grid.instances`. volume: axes (slice ascending
    along row × column, row, column), float32 after rescale, int16 or uint16 where there is none.
    """

    grid: Grid
    datasets: tuple[Dataset, ...]
    volume: Volume


def load(grid: Grid) -> Source:
    """Decode every slice of the grid. Raises `SeriesRefused` with the object and the numbers."""
    if np.prod(np.array(grid.shape, dtype=float)) > MAX_VOXELS:
        raise PixelsWrongSize(
            f"{grid.shape} voxels are more than any MR series has; check the header"
        )
    datasets: list[Dataset] = []
    slices: list[Array] = []
    for instance in grid.instances:
        ds, frames = _decode(instance, grid)
        datasets.append(ds)
        slices.extend(frames)
    volume = Volume(_volume_array(slices), grid.affine, grid.frame_of_reference_uid)
    return Source(grid, tuple(datasets), volume)


def _decode(instance: Instance, grid: Grid) -> tuple[Dataset, list[Array]]:
    """Return one object without its pixels, and its frames in the order of the grid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds, frames = _stored(instance)
        expected = (instance.frames, *grid.shape[1:])
        if frames.shape != expected:
            raise PixelsWrongSize(
                f"{instance.path.name}: {frames.shape} pixels decoded, the header says {expected}; send it again"
            )
        order = grid.frame_order or (0,)
        scales = _rescales(ds, order)
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in ds:
            del ds[keyword]
    if frames.dtype.kind in "iu" and all(scale == (1.0, 0.0) for scale in scales):
        return ds, [frames[n] for n in order]
    with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are refused below
        return ds, [
            frames[n].astype(np.float32) * np.float32(slope) + np.float32(intercept)
            for n, (slope, intercept) in zip(order, scales, strict=True)
        ]


def _stored(instance: Instance) -> tuple[Dataset, Array]:
    """Read one object and decode its stored values, (frame, row, column)."""
    name = instance.path.name
    try:
        ds = dcmread(instance.path, force=True)
        if not getattr(ds.file_meta, "TransferSyntaxUID", None):
            implicit, little = ds.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        photometric = elements.text(ds, "PhotometricInterpretation")
        if elements.integer(ds, "SamplesPerPixel") != 1 or photometric != "MONOCHROME2":
            raise PixelsNotGrey(f"{name}: {photometric} pixels; use the original MR series")
        stored = np.asarray(ds.pixel_array)
    except _DECODE_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise PixelsUndecodable(
            f"{name}: pixels cannot be decoded ({reason}); send it again or in another transfer syntax"
        ) from error
    return ds, stored[None] if stored.ndim == 2 else stored


def _rescales(ds: Dataset, order: Sequence[int]) -> list[tuple[float, float]]:
    """Slope and intercept of every frame in `order` (PS3.3 C.11.1.1.2, C.7.6.16.2.9)."""
    per_frame = elements.items(ds, "PerFrameFunctionalGroupsSequence")
    scales = []
    for n in order:
        frame = per_frame[n] if n < len(per_frame) else None
        groups = list(elements.groups(ds, frame, "PixelValueTransformationSequence"))
        holder = groups[0] if groups else ds
        slope = elements.number(holder, "RescaleSlope")
        intercept = elements.number(holder, "RescaleIntercept")
        scales.append((slope or 1.0, intercept or 0.0))
    return scales


def _volume_array(slices: Sequence[Array]) -> Array:
    """Stack the slices as int16, uint16 or float32. Refuses what no segmentation can use."""
    array = np.stack(slices)
    if array.dtype == np.uint8:
        array = array.astype(np.uint16)
    elif array.dtype not in {np.dtype(np.int16), np.dtype(np.uint16), np.dtype(np.float32)}:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise PixelsNotFinite(
            f"{bad} of {array.size} voxels are NaN or infinite; use the original series"
        )
    low, high = array.min(), array.max()
    if low == high:
        raise PixelsConstant(
            f"all {array.size} voxels are {low:g}; nothing can be seen in the series"
        )
    return array
