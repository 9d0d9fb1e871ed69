"""`read_source`: the pixels of a grid as one `Volume`, and the data sets without them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomseg.errors import SeriesRefused
from dicomseg.read import attributes
from dicomseg.read.geometry_problem import join_names
from dicomseg.read.instance import Instance
from dicomseg.read.series import Grid
from dicomseg.volume import Array, Volume

MAX_VOXELS: Final = 1 << 27
"""128 slices of 1024 × 1024: ten times the paper's volume, half a gigabyte as float32. A hostile header
must not ask for all memory, and compressed pixels may be a thousand times smaller than decoded."""

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_OFFSETS: Final = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_EMPTY_OFFSETS: Final = b"\xfe\xff\x00\xe0\0\0\0\0"
_DTYPES: Final = {np.dtype(np.int16), np.dtype(np.uint16), np.dtype(np.float32)}


class PixelsUndecodable(SeriesRefused):
    """The pixel data of one object cannot be decoded; send it again or in another transfer syntax."""

    code = "pixels-undecodable"


class PixelsWrongSize(SeriesRefused):
    """The decoded pixels do not have the size the header says; send the object again."""

    code = "pixels-wrong-size"


class PixelsNotGrey(SeriesRefused):
    """The pixels are colours; use the original MR series."""

    code = "pixels-not-grey"


class PixelsConstant(SeriesRefused):
    """All voxels have one value; nothing can be seen in the series."""

    code = "pixels-constant"


class PixelsMissing(SeriesRefused):
    """Slices between others have one value: their pixels were lost; send the series again."""

    code = "pixels-missing"


class PixelsNotFinite(SeriesRefused):
    """Voxels are NaN or infinite; use the original MR series."""

    code = "pixels-not-finite"


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


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One decoded slice. values: (row, column), rescaled. padding: mask, None where there is none.

    mirror: where MONOCHROME1 has to be inverted, the sum of the least and largest value it may hold.
    """

    values: Array
    padding: Array | None
    mirror: float | None


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
            ds = _read(instance)
            for frame in _frames(ds, instance, grid):
                stack.add(frame)
        for keyword in (*_PIXELS, *_OFFSETS):
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

    def add(self, frame: _Frame) -> None:
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
        seen = [
            array[n][~self._padding[n]] if n in self._padding else array[n]
            for n in range(len(array))
        ]
        ends = [(s.min(), s.max()) for s in seen if s.size]
        if not ends:
            raise PixelsConstant(f"all {array.size} voxels are padding; nothing can be seen")
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        if low == high:
            raise PixelsConstant(
                f"all {array.size} voxels are {low:g}; nothing can be seen in the series"
            )
        _refuse_blank(seen)
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


def _read(instance: Instance) -> Dataset:
    """Read one object with a header that fits its pixels."""
    with _decoding(instance):
        ds = dcmread(instance.path, force=True)
        if not getattr(ds.file_meta, "TransferSyntaxUID", None):
            implicit, little = ds.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        if instance.frames > 1 or "NumberOfFrames" in ds:
            ds.NumberOfFrames = instance.frames
        _mend_fragments(ds, instance.frames)
    photometric = attributes.text(ds, "PhotometricInterpretation")
    samples = attributes.integer(ds, "SamplesPerPixel")
    if samples not in {None, 1} or not photometric.startswith("MONOCHROME"):
        raise PixelsNotGrey(
            f"{instance.path.name}: {photometric} pixels; use the original MR series"
        )
    return ds


@contextmanager
def _decoding(instance: Instance) -> Iterator[None]:
    """Whatever a decoder raises is the object's fault: `PixelsUndecodable`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic in Rust (pylibjpeg-rle) is no Exception
        reason = " ".join(str(error).split())[:200]
        raise PixelsUndecodable(
            f"{instance.path.name}: pixels cannot be decoded ({reason}); send it again or in another transfer syntax"
        ) from error


def _mend_fragments(ds: Dataset, frames: int) -> None:
    """Make offsets and fragments agree with the number of frames.

    A frame may lie in several fragments, and some writers give each of them an offset (PS3.5 A.4).
    """
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in ds:
        return
    if len(attributes.raw(ds, _OFFSETS[0]) or b"") != 8 * frames:
        for keyword in _OFFSETS:
            if keyword in ds:
                del ds[keyword]
    stream = io.BytesIO(ds.PixelData)
    offsets = parse_basic_offsets(stream)
    if frames == 1:
        fragments = list(generate_fragments(stream))
        if len(fragments) > 1:
            ds.PixelData = encapsulate([b"".join(fragments)])
    elif offsets and len(offsets) != frames:
        ds.PixelData = _EMPTY_OFFSETS + stream.read()


def _frames(ds: Dataset, instance: Instance, grid: Grid) -> Iterator[_Frame]:
    """Decode the frames of one object in the order of the grid, one at a time."""
    order = grid.frame_order or (0,)
    scales = _rescales(ds, order)
    low, high = _stored_range(ds)
    padded = _padding_range(ds, high)
    inverted = attributes.text(ds, "PhotometricInterpretation") == "MONOCHROME1"
    decoded = iter_pixels(ds, indices=list(order), raw=True)
    for slope, intercept in scales:
        with _decoding(instance):
            stored = np.asarray(next(decoded))
        if stored.shape != grid.shape[1:]:
            raise PixelsWrongSize(
                f"{instance.path.name}: {stored.shape} pixels decoded, the header says {grid.shape[1:]}; send it again"
            )
        mask = None if padded is None else (stored >= padded[0]) & (stored <= padded[1])
        mirror = slope * (low + high) + 2 * intercept if inverted else None
        yield _Frame(
            _rescaled(stored, slope, intercept),
            mask if mask is not None and mask.any() else None,
            mirror,
        )


def _rescaled(stored: Array, slope: float, intercept: float) -> Array:
    if stored.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        return stored
    with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are refused later
        scaled: Array = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return scaled


def _rescales(ds: Dataset, order: Sequence[int]) -> list[tuple[float, float]]:
    """Slope and intercept of every frame in `order` (PS3.3 C.11.1.1.2, C.7.6.16.2.9)."""
    per_frame = attributes.items(ds, "PerFrameFunctionalGroupsSequence")
    scales = []
    for n in order:
        frame = per_frame[n] if n < len(per_frame) else None
        groups = list(attributes.groups(ds, frame, "PixelValueTransformationSequence"))
        holder = groups[0] if groups else ds
        slope = attributes.number(holder, "RescaleSlope")
        intercept = attributes.number(holder, "RescaleIntercept")
        scales.append((slope or 1.0, intercept or 0.0))
    return scales


def _is_signed(ds: Dataset) -> bool:
    return attributes.integer(ds, "PixelRepresentation") == 1


def _stored_range(ds: Dataset) -> tuple[int, int]:
    """Least and largest value that the stored bits can hold."""
    bits = attributes.integer(ds, "BitsStored") or attributes.integer(ds, "BitsAllocated") or 16
    bits = min(max(bits, 1), 64)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if _is_signed(ds) else (0, (1 << bits) - 1)


def _padding_range(ds: Dataset, high: int) -> tuple[int, int] | None:
    """Stored values that are declared as padding (PS3.3 C.7.5.1.1.2), least and largest."""
    value = _stored_number(ds, "PixelPaddingValue", high)
    if value is None:
        return None
    limit = _stored_number(ds, "PixelPaddingRangeLimit", high)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _stored_number(ds: Dataset, keyword: str, high: int) -> int | None:
    """A value in the form of the stored pixels: US or SS by Pixel Representation, in the stored bits."""
    raw = attributes.raw(ds, keyword)
    if isinstance(raw, bytes) and len(raw) == 2:  # Implicit VR does not tell US from SS
        value: int | None = int.from_bytes(raw, "little", signed=_is_signed(ds))
    else:
        value = attributes.integer(ds, keyword)
    if value is None or value <= high:
        return value
    bits = high.bit_length() + _is_signed(ds)
    cut = value & ((1 << bits) - 1)
    return cut - (1 << bits) if _is_signed(ds) and cut > high else cut
