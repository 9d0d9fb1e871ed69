"""A segmentation as it travels: labels, mask and sides deflated, which are mostly one value; scores as they are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dicomseg.segmentation import Labels, Segmentation
from dicomseg.volume import Array, Volume

LEVEL: Final = 1
"""Of zlib: a hundredth of the size in a twentieth of a second."""
_NOTHING: Final = np.zeros((1, 1, 1), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Deflated:
    """An array of small values. dtype: its name."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> _Deflated:
        return cls(zlib.compress(array.tobytes(), LEVEL), array.dtype.str, array.shape)

    def array(self) -> Array:
        return np.frombuffer(zlib.decompress(self.data), self.dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A `Segmentation` whose arrays on the source grid are deflated; `body` holds all else."""

    body: Segmentation
    labels: _Deflated
    mask: _Deflated
    sides: _Deflated

    def unpacked(self, frame_of_reference_uid: str) -> Segmentation:
        """Return the segmentation, equal in every bit, in the frame of reference that did not travel."""
        affine = self.body.labels.volume.affine
        labels = Volume(self.labels.array(), affine, frame_of_reference_uid)
        return replace(
            self.body,
            labels=Labels(labels, self.mask.array()),
            sides=labels.with_array(self.sides.array()),
        )


def pack(found: Segmentation) -> Packed:
    """Return a segmentation as it travels."""
    grid = found.labels.volume
    empty = Volume(_NOTHING, grid.affine)
    body = replace(found, labels=Labels(empty, _NOTHING.astype(bool)), sides=empty)
    return Packed(
        body,
        _Deflated.of(grid.array),
        _Deflated.of(found.labels.analysed_mask),
        _Deflated.of(found.sides.array),
    )
