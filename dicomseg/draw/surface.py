"""Closed surfaces of the segments, in LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from scipy import ndimage, sparse
from skimage.measure import marching_cubes

from dicomseg.structures import SEGMENTS, StructureId
from dicomseg.volume import Array, Volume

SMOOTHING_MM: Final = 1.0
"""Gauss that removes the steps of voxels."""
GRID_MM: Final = 1.5
"""Grid on which the smoothed segment is sampled, whatever the image's: it decides the number of triangles."""
THIN: Final[dict[StructureId, float]] = {"n4": 0.6}
"""Structures of a few voxels across: the usual Gauss would thin them. Their grid is finer by the same factor."""
BETWEEN_SLICES: Final = 0.5
"""Least width of the Gauss in voxels: between thick slices, less would leave steps."""
VOLUME_TOLERANCE: Final = 0.003
_REACH: Final = 3.0
"""Standard deviations after which the Gauss ends."""
_STEPS: Final = 8
_CLEARANCE: Final = 1e-3
"""Least difference between the level and a grid point: vertices nearer to it become one in a file's 32 bits."""
_NUDGES: Final = (1e-3, -1e-3, 4e-3, -4e-3)
"""Changes of the level that are tried in turn where a surface is open."""


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
    return bool((np.diff(there) > 0).all()) and np.array_equal(there, back)


def build_surfaces(sides: Volume) -> dict[int, Mesh]:
    """Build the surface of every segment that is present.

    sides: uint8 segment numbers as in `Segmentation.sides`. Returns the meshes by segment number; a segment too small
    for a surface is left out.
    """
    meshes: dict[int, Mesh] = {}
    boxes = ndimage.find_objects(sides.array, max_label=len(SEGMENTS))
    for segment, box in zip(SEGMENTS, boxes, strict=True):
        smoothing_mm = THIN.get(segment.structure.id, SMOOTHING_MM)
        mesh = build_surface(sides, segment.number, box, smoothing_mm) if box else None
        if mesh is not None:
            meshes[segment.number] = mesh
    return meshes


def build_surface(
    sides: Volume, number: int, box: tuple[slice, ...], smoothing_mm: float = SMOOTHING_MM
) -> Mesh | None:
    """Build the surface of one segment with the volume of its voxels; None where there are too few of them.

    box: part of the array that holds the segment.
    """
    mask = sides.array[box] == number
    start, step, soft = np.zeros(3), np.zeros(3), mask.astype(np.float32)
    for axis, spacing_mm in enumerate(sides.spacing_mm):
        grid_mm = GRID_MM * smoothing_mm / SMOOTHING_MM
        sigma_mm = max(smoothing_mm, BETWEEN_SLICES * spacing_mm)
        start[axis], weights = _smoothing(mask.shape[axis], spacing_mm, sigma_mm, grid_mm)
        step[axis] = grid_mm / spacing_mm
        soft = _along(weights, soft, axis)
    level_set = _level_set(soft, np.count_nonzero(mask) / float(np.prod(step)))
    if level_set is None:
        return None
    points, faces = level_set
    corner = start + [s.start for s in box]
    lps = sides.to_patient(points * step + corner)
    if signed_volume(lps, faces) < 0:
        faces = faces[:, ::-1]
    return Mesh(lps.astype(np.float32), np.ascontiguousarray(faces, np.int32))


def _smoothing(
    count: int, spacing_mm: float, sigma_mm: float, grid_mm: float
) -> tuple[float, sparse.csr_array]:
    """Weights (grid points, voxels) of a Gauss sampled on another grid, which begins and ends where all are zero.

    Returns the index of the first grid point, and the weights. Voxels beyond the segment's box count as empty.
    """
    rim_mm = _REACH * sigma_mm + grid_mm
    points = int(np.ceil(((count - 1) * spacing_mm + 2 * rim_mm) / grid_mm)) + 1
    beyond = int(np.ceil((rim_mm + grid_mm + _REACH * sigma_mm) / spacing_mm)) + 1
    at_mm = grid_mm * np.arange(points) - rim_mm
    away = (at_mm[:, None] - spacing_mm * np.arange(-beyond, count + beyond)) / sigma_mm
    weights = np.where(np.abs(away) <= _REACH, np.exp(-0.5 * away**2), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = weights[:, beyond : beyond + count].astype(np.float32)
    return -rim_mm / spacing_mm, sparse.csr_array(inside)


def _along(weights: sparse.csr_array, array: Array, axis: int) -> Array:
    """Apply weights (new, old) along one axis; sparse, so that the sums have one order on every machine."""
    lines = np.moveaxis(array, axis, 0)
    flat = np.ascontiguousarray(lines).reshape(len(lines), -1)
    applied = (weights @ flat).reshape(-1, *lines.shape[1:])
    out: Array = np.ascontiguousarray(np.moveaxis(applied, 0, axis))
    return out


def _level_set(soft: Array, count: float) -> tuple[Array, Array] | None:
    """Vertices in grid steps and faces of the level at which the surface encloses `count` steps³; None without one."""
    values = np.sort(soft.ravel())
    low, high = 0.02, min(0.98, float(values[-1]) * 0.999)
    if high <= low:
        return None
    level = float(np.clip(values[-min(max(round(count), 1), values.size)], low, high))
    tried: dict[float, tuple[float, tuple[Array, Array]]] = {}
    # levels between which the sought one lies, with the volume too much at each
    below, above = (low, float(np.count_nonzero(values > low)) - count), (high, -count)
    for _ in range(_STEPS):
        surface = _surface_at(soft, level)
        excess = abs(signed_volume(*surface)) - count
        tried[level] = abs(excess), surface
        if abs(excess) < VOLUME_TOLERANCE * count:
            break
        below, above = ((level, excess), above) if excess > 0 else (below, (level, excess))
        level = _between(below, above)
    best = min(tried, key=lambda level: tried[level][0])
    beside = (_surface_at(soft, min(max(best + nudge, low), high)) for nudge in _NUDGES)
    return next((s for s in chain([tried[best][1]], beside) if is_closed(s[1])), None)


def _between(below: tuple[float, float], above: tuple[float, float]) -> float:
    """A level between two at which the volume is too large and too small: by a straight line, not near an end."""
    (low, too_much), (high, too_little) = below, above
    share = too_much / max(too_much - too_little, 1e-9)
    return low + min(max(share, 0.1), 0.9) * (high - low)


def _surface_at(soft: Array, level: float) -> tuple[Array, Array]:
    clear = level + np.where(soft < level, -_CLEARANCE, _CLEARANCE).astype(soft.dtype)
    soft = np.where(np.abs(soft - level) < _CLEARANCE, clear, soft)
    vertices, faces, _, _ = marching_cubes(soft, level, allow_degenerate=False)  # type: ignore[no-untyped-call]
    return vertices, faces
