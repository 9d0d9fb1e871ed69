"""Forms in which `seg.dcm` stores ten segments: their frames, voxels and transfer syntax.

Frames are named by (slice, segment number); slice numbers count along axis 0 of the grid, whatever their order in the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from highdicom.frame import encode_frame
from highdicom.seg import SegmentationTypeValues
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from dicomseg.volume import Array

ALL_SEGMENTS: Final = 0
"""In place of a segment number: the frame holds every segment."""

Kind = Literal["binary", "fractional", "labelmap"]
Frame = tuple[int, int]
"""A slice and a segment number, or `ALL_SEGMENTS`."""


@dataclass(frozen=True, slots=True)
class Form:
    """How segments are stored.

    binary: one bit per voxel, one frame per segment and slice that it crosses; read by every reader of segmentations.
    fractional: the same frames, one byte of 0 or 1 per voxel. labelmap: one byte per voxel, one frame per
    slice that any segment crosses.
    """

    kind: Kind
    rle: bool = False
    """Whether frames of bytes are compressed without loss (RLE)."""

    def __post_init__(self) -> None:
        if self.rle and self.kind == "binary":
            raise ValueError("frames of bits cannot be compressed as RLE")

    @property
    def segmentation_type(self) -> SegmentationTypeValues:
        """Return the defined term of Segmentation Type."""
        return SegmentationTypeValues[self.kind.upper()]

    @property
    def transfer_syntax(self) -> UID:
        """Return the transfer syntax of the object."""
        return RLELossless if self.rle else ExplicitVRLittleEndian


BINARY: Final = Form("binary")
FRACTIONAL: Final = Form("fractional")
LABELMAP: Final = Form("labelmap")


def form_for(rows: int, columns: int) -> Form:
    """Return the default form: bits, or bytes where frames of bits would not end at byte boundaries.

    OHIF 3.13 reads such frames with the bits of every byte turned round: a third of the slices is wrong, or nothing is
    drawn. Bytes of 0 and 1 are read rightly everywhere; a label map would be smaller, but archives refuse its class.
    """
    return BINARY if rows * columns % 8 == 0 else FRACTIONAL


def role_of(kind: Kind, rows: int, columns: int) -> str:
    """Return the role that the object's UIDs follow from.

    `seg` for the default form of the matrix, `seg.<kind>` for any other: other bytes never share a UID. A compressed
    copy is the same object.
    """
    return "seg" if kind == form_for(rows, columns).kind else f"seg.{kind}"


def frames_of(
    sides: Array, form: Form, order: Sequence[int], segments: Sequence[int]
) -> list[Frame]:
    """Return the frames in the order of the file.

    sides: segment numbers (slices, rows, columns). order: slices as they follow each other in the file.
    Slices that a segment, or in a label map any segment, does not cross have no frame; of no voxel at all every slice
    has one for every segment.
    """
    flat = sides.reshape(len(sides), -1)
    if form.kind == "labelmap":
        labelled = [n for n in order if flat[n].any()]
        return [(n, ALL_SEGMENTS) for n in labelled or order]
    crossed = {n: (flat == n).any(axis=1) for n in segments}
    frames = [(n, number) for number in segments for n in order if crossed[number][n]]
    return frames or [(n, number) for number in segments for n in order]


def leaves_gaps(slices: Sequence[int]) -> bool:
    """Return whether slices of one frame each do not follow each other without a gap."""
    return any(abs(b - a) != 1 for a, b in itertools.pairwise(slices))


def pixel_data(sides: Array, form: Form, frames: Sequence[Frame]) -> bytes:
    """Return the value of Pixel Data of these frames, padded to an even length."""
    return stored([_frame(sides, frame) for frame in frames], form)


def stored(frames: Sequence[Array], form: Form) -> bytes:
    """Return the value of Pixel Data of frames (rows, columns), uint8, padded to an even length."""
    if form.rle:
        return encapsulate([_compressed(frame) for frame in frames])
    if form.kind != "binary":
        return _even(b"".join(frame.tobytes() for frame in frames))
    if frames[0].size % 8 == 0:
        return _even(b"".join(np.packbits(f, bitorder="little").tobytes() for f in frames))
    bits = np.concatenate([frame.ravel() for frame in frames])
    return _even(np.packbits(bits, bitorder="little").tobytes())


def _frame(sides: Array, frame: Frame) -> Array:
    """One frame as stored values (rows, columns), uint8."""
    n, number = frame
    return np.asarray(sides[n] if number == ALL_SEGMENTS else (sides[n] == number).view(np.uint8))


def _compressed(values: Array) -> bytes:
    return encode_frame(
        values,
        transfer_syntax_uid=RLELossless,
        bits_allocated=8,
        bits_stored=8,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
    )


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
