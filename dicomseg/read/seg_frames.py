"""The frames of a SEG of any writer: the segment of each, where it lies, and its voxels. Nothing is trusted.

Values are crisp: bits, segment numbers, or fractions that are all 0 or the maximum, as writers store bits in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicomseg.read import attributes
from dicomseg.read.seg_errors import SegRefused
from dicomseg.volume import Array, Points

MOST_FRAMES: Final = 20_000
"""Ten segments on two thousand slices; a lumbar series has below two hundred."""
MOST_VOXELS: Final = 1 << 33
"""Voxels of all frames together, one frame in memory at a time: 25 segments on each slice of the largest series that is
read (`pixels.MAX_VOXELS`), twice over."""
MOST_PIXELS: Final = 1 << 24
"""Voxels of one frame, 4096 × 4096: what is held in memory at once."""
FAR_MM: Final = 1e5
"""A hundred metres: no place in a scanner, and far from where numbers overflow."""
_KINDS: Final = ("BINARY", "FRACTIONAL", "LABELMAP")


@dataclass(frozen=True, slots=True, eq=False)
class SegFrame:
    """One frame. affine: (4, 3), index (row, column, 1) to LPS mm, of voxel centres. values: (rows, columns), segment numbers."""

    affine: Points
    values: Array


@dataclass(frozen=True, slots=True)
class SegHead:
    """What is checked before a voxel is decoded."""

    kind: str
    frames: int
    rows: int
    columns: int


def read_head(ds: Dataset) -> SegHead:
    """Return kind and size of the frames. Raises `SegRefused`."""
    kind = attributes.text(ds, "SegmentationType").upper()
    if kind not in _KINDS:
        raise SegRefused("unknown-kind", "its Segmentation Type is none of BINARY, LABELMAP and FRACTIONAL; export it again")  # fmt: skip
    frames, rows, columns = (
        attributes.integer(ds, name) or 0 for name in ("NumberOfFrames", "Rows", "Columns")
    )
    if min(frames, rows, columns) < 1:
        raise SegRefused("no-frames", "it has no frames; draw something and send it again")
    voxels = rows * columns
    if frames > MOST_FRAMES or voxels > MOST_PIXELS or frames * voxels > MOST_VOXELS:
        raise SegRefused(
            "too-large", f"{frames} frames of {rows} × {columns} voxels are more than a lumbar series has; export it again"
        )  # fmt: skip
    return SegHead(kind, frames, rows, columns)


def iter_frames(ds: Dataset, head: SegHead) -> Iterator[SegFrame]:
    """Yield the frames in the order of the object, one at a time. Raises `SegRefused`, and what pydicom raises."""
    groups = attributes.items(ds, "PerFrameFunctionalGroupsSequence")
    if len(groups) != head.frames:
        raise SegRefused(
            "damaged-frames",
            f"it describes {len(groups)} of its {head.frames} frames; export it again",
        )
    for group, stored in zip(groups, _stored(ds, head), strict=True):
        if stored.shape != (head.rows, head.columns):
            raise SegRefused("damaged-frames", "its frames do not have the size of its header; export it again")  # fmt: skip
        values = stored if head.kind == "LABELMAP" else _of_segment(ds, group, stored, head)
        yield SegFrame(_affine(ds, group), values)


def _of_segment(ds: Dataset, group: Dataset, stored: Array, head: SegHead) -> Array:
    """Return the number of the frame's segment where it is, else 0."""
    item = next(attributes.groups(ds, group, "SegmentIdentificationSequence"), None)
    number = None if item is None else attributes.integer(item, "ReferencedSegmentNumber")
    if number is None or not 0 < number < 1 << 16:
        raise SegRefused("damaged-frames", "a frame does not name its segment; export it again")
    full = 1 if head.kind == "BINARY" else attributes.integer(ds, "MaximumFractionalValue")
    inside = stored == full
    if np.count_nonzero(stored) != np.count_nonzero(inside):
        raise SegRefused("fractional-values", "its segments are fractional, not crisp; export them as binary or label map")  # fmt: skip
    values: Array = inside.astype(np.uint16) * np.uint16(number)
    return values


# ---- voxels --------------------------------------------------------------------------------------


def _stored(ds: Dataset, head: SegHead) -> Iterator[Array]:
    is_bits = attributes.integer(ds, "BitsAllocated") == 1
    if not is_bits or ds.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from (np.asarray(frame) for frame in iter_pixels(ds, raw=True))
        return
    # PS3.5 8.1.1: bits follow one another from frame to frame, the lowest of a byte first.
    data = np.frombuffer(attributes.raw(ds, "PixelData") or b"", np.uint8)
    size = head.rows * head.columns
    if len(data) * 8 < head.frames * size:
        raise SegRefused(
            "truncated-voxels", f"{len(data)} of {-(-head.frames * size // 8)} bytes of its voxels arrived; send it again"
        )  # fmt: skip
    for n in range(head.frames):
        first, last = n * size, (n + 1) * size
        bits = np.unpackbits(data[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 :][:size].reshape(head.rows, head.columns)


# ---- place ---------------------------------------------------------------------------------------


def _affine(ds: Dataset, group: Dataset) -> Points:
    """Return where the frame lies (PS3.3 C.7.6.2.1.1). Raises `SegRefused`."""
    position = _group_numbers(ds, group, "PlanePositionSequence", "ImagePositionPatient", 3)
    cosines = _group_numbers(ds, group, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _group_numbers(ds, group, "PixelMeasuresSequence", "PixelSpacing", 2)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    return np.stack([column * spacing[0], row * spacing[1], np.array(position)], axis=1)


def _group_numbers(
    ds: Dataset, group: Dataset, sequence: str, keyword: str, count: int
) -> tuple[float, ...]:
    item = next(attributes.groups(ds, group, sequence), None)
    values = None if item is None else attributes.numbers(item, keyword, count)
    if values is None or max(map(abs, values)) > FAR_MM:
        raise SegRefused("unplaced-frames", "a frame does not say where it lies in the patient; export it again")  # fmt: skip
    return values
