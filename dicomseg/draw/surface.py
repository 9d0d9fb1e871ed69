"""Closed surfaces of the segments, in LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import fast_simplification
import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from dicomseg.structures import SEGMENTS, StructureId
from dicomseg.volume import Array, Volume

SMOOTHING_MM: Final = 1.0
"""Gauss that removes the steps of voxels."""
THIN: Final[dict[StructureId, float]] = {"n4": 0.6}
"""Structures of a few voxels across: the usual Gauss would thin them."""
REDUCTION: Final = 0.7
"""Share of triangles that is left out; the volume changes by at most 0.5 %."""
RETRIES: Final = (1.0, 0.7, 0.4)
"""Shares of `REDUCTION` that are tried in turn: decimation opened 1 of 30 meshes."""
VOLUME_TOLERANCE: Final = 0.003
_PAD: Final = 5
"""Voxels around the mask: at least three standard deviations, or the cap at the image border is lost."""
_STEPS: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A closed surface.

    vertices_lps: (n, 3) float32 in mm. faces: (m, 3) int32, counter-clockwise seen from outside.
    """

    vertices_lps: Array
    faces: Array

    @property
    def volume_ml(self) -> float:
        """Enclosed volume, positive where the faces point outwards."""
        return signed_volume(self.vertices_lps, self.faces) / 1000.0


def signed_volume(vertices: Array, faces: Array) -> float:
    """Return the enclosed volume in the cube of the vertices' unit, negative where the faces point inwards."""
    a, b, c = (vertices[faces[:, n]].astype(np.float64) for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def is_closed(faces: Array) -> bool:
    """Say whether every edge is used exactly once in each direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    size = int(faces.max()) + 1
    there = np.sort(edges[:, 0] * size + edges[:, 1])
    back = np.sort(edges[:, 1] * size + edges[:, 0])
    return len(np.unique(there)) == len(there) and np.array_equal(there, back)


def build_surfaces(sides: Volume) -> dict[int, Mesh]:
    """Build the surface of every segment that is present.

    sides: uint8 segment numbers as in `Segmentation.sides`. Returns the meshes by segment number; a segment too small
    for a surface is left out.
    """
    meshes: dict[int, Mesh] = {}
    for segment in SEGMENTS:
        smoothing_mm = THIN.get(segment.structure.id, SMOOTHING_MM)
        mesh = build_surface(sides, segment.number, smoothing_mm)
        if mesh is not None:
            meshes[segment.number] = mesh
    return meshes


def build_surface(sides: Volume, number: int, smoothing_mm: float = SMOOTHING_MM) -> Mesh | None:
    """Build the surface of one segment with the volume of its voxels; None where there are too few of them."""
    mask, corner = _padded_mask(sides, number)
    if mask is None:
        return None
    spacing = np.array(sides.spacing_mm)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), smoothing_mm / spacing, truncate=3)
    level_set = _level_set(soft, int(mask.sum()))
    if level_set is None:
        return None
    vertices, faces = _decimated(*level_set)
    lps = sides.to_patient(vertices + corner)
    if signed_volume(lps, faces) < 0:
        faces = faces[:, ::-1]
    return Mesh(lps.astype(np.float32), np.ascontiguousarray(faces, np.int32))


def _padded_mask(sides: Volume, number: int) -> tuple[Array | None, Array]:
    """Mask of one segment with a rim of `_PAD` empty voxels, and the index of its first voxel in the volume."""
    index = sides.where(number)
    if len(index) == 0:
        return None, np.zeros(3)
    low, high = index.min(axis=0), index.max(axis=0)
    mask = np.zeros(high - low + 1 + 2 * _PAD, bool)
    mask[tuple((index - low + _PAD).T)] = True
    return mask, low - _PAD


def _level_set(soft: Array, count: int) -> tuple[Array, Array] | None:
    """Vertices in voxels and faces of the level at which the mesh encloses `count` voxels, found by halving."""
    level = float(np.partition(soft.ravel(), soft.size - count)[soft.size - count])
    low, high = 0.02, min(0.98, float(soft.max()) * 0.999)
    if high <= low:
        return None
    level = min(max(level, low), high)
    mesh: tuple[Array, Array] | None = None
    for _ in range(_STEPS):
        vertices, faces, _, _ = marching_cubes(soft, level, allow_degenerate=False)  # type: ignore[no-untyped-call]
        mesh = vertices, faces
        volume = abs(signed_volume(vertices, faces))
        if abs(volume / count - 1.0) < VOLUME_TOLERANCE:
            break
        low, high = (level, high) if volume > count else (low, level)
        level = (low + high) / 2
    return mesh


def _decimated(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Leave out triangles, fewer or none where that would open the surface."""
    for share in RETRIES:
        points, fewer = fast_simplification.simplify(
            vertices.astype(np.float32), faces.astype(np.int32), target_reduction=REDUCTION * share
        )
        if len(fewer) > 3 and is_closed(fewer):
            return points, fewer
    return vertices, faces
