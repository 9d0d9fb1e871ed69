"""`Volume`: an array that knows where it lies in the patient.

Patient coordinates are DICOM LPS in millimetres (PS3.3 C.7.6.2.1.1): +x to the patient's left, +y to
the back, +z to the head. RAS exists in one function, `to_ras`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Points = NDArray[np.float64]
Point = tuple[float, float, float]

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A 3-D array with its geometry.

    array: (i, j, k), made read-only. By convention of `dicomseg.read.pixels` i counts slices along the
    normal row × column of the images, j rows, k columns; nothing may depend on that convention.
    affine: (4, 4) float64, index (i, j, k, 1) to LPS mm, voxel centres.
    frame_of_reference_uid: "" for volumes that never were DICOM.
    """

    array: Array
    affine: Points
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(
                f"a volume needs a 3-D array and a 4 × 4 affine, got {self.array.shape} and {self.affine.shape}"
            )
        object.__setattr__(self, "affine", np.array(self.affine, dtype=np.float64))
        view = self.array.view()
        view.flags.writeable = False
        self.affine.flags.writeable = False
        object.__setattr__(self, "array", view)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (i, j, k)."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (i, j, k) in mm."""
        return to_point(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def directions(self) -> Points:
        """(3, 3): unit LPS vector of each index axis in its column."""
        unit: Points = self.affine[:3, :3] / np.array(self.spacing_mm)
        return unit

    def to_patient(self, ijk: Array) -> Points:
        """Convert index points (..., 3) to LPS mm (..., 3)."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, lps: Array) -> Points:
        """Convert LPS points (..., 3) in mm to fractional indices (..., 3)."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(lps, dtype=np.float64) - self.affine[:3, 3]) @ inverse.T

    def where(self, value: int) -> Array:
        """Find the index points (n, 3) of the voxels with this value, in the array's order.

        Sought inside their bounding box only: a structure fills a hundredth of a volume.
        """
        mask = self.array == value
        start = [0, 0, 0]
        for axis in range(3):
            others = tuple(n for n in range(3) if n != axis)
            filled = np.flatnonzero(mask.any(axis=others))
            if len(filled) == 0:
                return np.empty((0, 3), np.intp)
            start[axis] = int(filled[0])
            mask = mask[(slice(None),) * axis + (slice(filled[0], filled[-1] + 1),)]
        return np.argwhere(mask) + start

    def with_array(self, array: Array) -> Volume:
        """Return the same geometry with another array of the same shape."""
        if array.shape != self.array.shape:
            raise ValueError(f"array {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def box(self, start: Sequence[int], stop: Sequence[int]) -> Volume:
        """Crop to index box [start, stop); nothing is flipped."""
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] = self.to_patient(np.array(start))
        return Volume(self.array[i, j, k], affine, self.frame_of_reference_uid)

    def oriented(self, towards: Points) -> Volume:
        """Permute and flip the index axes so that axis n runs most nearly along `towards[:, n]`.

        towards: (3, 3) LPS directions in columns, e.g. `AXIAL` . No voxel value changes.
        """
        alignment = np.abs(self.directions.T @ towards)
        order = [-1, -1, -1]
        for _ in range(3):
            source, target = np.unravel_index(np.argmax(alignment), alignment.shape)
            order[int(target)] = int(source)
            alignment[source, :] = alignment[:, target] = -1
        array, affine = self.array.transpose(order), self.affine.copy()
        affine[:3, :3] = self.affine[:3, order]
        for axis in range(3):
            if affine[:3, axis] @ towards[:, axis] < 0:
                affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
                affine[:3, axis] *= -1
                array = np.flip(array, axis)
        return Volume(array, affine, self.frame_of_reference_uid)

    def to_ras(self) -> Points:
        """Return the affine to RAS mm, for NIfTI, MONAI and TorchIO."""
        return _LPS_TO_RAS @ self.affine


def to_point(vector: Array) -> Point:
    """Convert a vector (3,) to a tuple of floats."""
    x, y, z = (float(v) for v in vector)
    return x, y, z


AXIAL: Final[Points] = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Directions of the canonical axes in columns: slices to the head, rows to the back, columns to the left."""
AXIAL.flags.writeable = False


def build_affine(
    directions: Points, spacing_mm: Sequence[float], origin_lps: Sequence[float]
) -> Points:
    """Build a (4, 4) affine from unit directions in columns, spacing in mm and the LPS of voxel 0."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions) * np.asarray(spacing_mm)
    affine[:3, 3] = origin_lps
    return affine
