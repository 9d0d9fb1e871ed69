"""Decode the frames of one object: rescaled values, padding, inversion."""

from __future__ import annotations

import io
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

from dicomseg.read import attributes
from dicomseg.read.instance import Instance
from dicomseg.read.pixel_errors import (
    PixelsNotGrey,
    PixelsUndecodable,
    PixelsWrongSize,
)
from dicomseg.read.series import Grid
from dicomseg.volume import Array

OFFSET_TABLES: Final = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_EMPTY_OFFSETS: Final = b"\xfe\xff\x00\xe0\0\0\0\0"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded slice. values: (row, column), rescaled. padding: mask, None where there is none.

    mirror: where MONOCHROME1 has to be inverted, the sum of the smallest and largest value it may hold.
    """

    values: Array
    padding: Array | None
    mirror: float | None


def read_with_pixels(instance: Instance) -> Dataset:
    """Read one object with a header that fits its pixels."""
    with decoding(instance):
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
def decoding(instance: Instance) -> Iterator[None]:
    """Raise whatever a decoder raises as `PixelsUndecodable`: it is the object's fault."""
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
    if len(attributes.raw(ds, OFFSET_TABLES[0]) or b"") != 8 * frames:
        for keyword in OFFSET_TABLES:
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


def decode_frames(ds: Dataset, instance: Instance, grid: Grid) -> Iterator[Frame]:
    """Decode the frames of one object in the order of the grid, one at a time."""
    order = grid.frame_order or (0,)
    scales = _rescales(ds, order)
    low, high = _stored_range(ds)
    padded = _padding_range(ds, high)
    inverted = attributes.text(ds, "PhotometricInterpretation") == "MONOCHROME1"
    decoded = iter_pixels(ds, indices=list(order), raw=True)
    for slope, intercept in scales:
        with decoding(instance):
            stored = np.asarray(next(decoded))
        if stored.shape != grid.shape[1:]:
            raise PixelsWrongSize(
                f"{instance.path.name}: {stored.shape} pixels decoded, the header says {grid.shape[1:]}; send it again"
            )
        mask = None if padded is None else (stored >= padded[0]) & (stored <= padded[1])
        mirror = slope * (low + high) + 2 * intercept if inverted else None
        yield Frame(
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
    """Return the smallest and largest value that the stored bits can hold."""
    bits = attributes.integer(ds, "BitsStored") or attributes.integer(ds, "BitsAllocated") or 16
    bits = min(max(bits, 1), 64)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if _is_signed(ds) else (0, (1 << bits) - 1)


def _padding_range(ds: Dataset, high: int) -> tuple[int, int] | None:
    """Stored values that are declared as padding (PS3.3 C.7.5.1.1.2), smallest and largest."""
    value = _stored_number(ds, "PixelPaddingValue", high)
    if value is None:
        return None
    limit = _stored_number(ds, "PixelPaddingRangeLimit", high)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _stored_number(ds: Dataset, keyword: str, high: int) -> int | None:
    """A value in the form of the stored pixels: US or SS by Pixel Representation, in the stored bits."""
    raw = attributes.raw(ds, keyword)
    if isinstance(raw, bytes) and len(raw) == 2:  # Implicit VR does not distinguish US from SS
        value: int | None = int.from_bytes(raw, "little", signed=_is_signed(ds))
    else:
        value = attributes.integer(ds, keyword)
    if value is None or value <= high:
        return value
    bits = high.bit_length() + _is_signed(ds)
    cut = value & ((1 << bits) - 1)
    return cut - (1 << bits) if _is_signed(ds) and cut > high else cut
