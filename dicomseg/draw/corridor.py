"""The oblique corridor as a shape: the free space between the left psoas and the artery, from the disc outwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.ops import unary_union

from dicomseg.draw.surface import Mesh, signed_volume
from dicomseg.measure.plane import to_lps
from dicomseg.result import Plane
from dicomseg.volume import Points

REACH_MM: Final = 30.0
"""How far the shape reaches outwards from the measured line."""
MIN_WIDTH_MM: Final = 0.5
"""A narrower corridor has no shape and no direction."""
MAX_ALONG: Final = 0.9
"""Largest cosine between the measured line and the way to the disc: beyond it, the line does not lie across the way."""
ARROW_MM: Final = (27.0, 6.0)
"""The arrow along the way in: start and tip, outwards from the measured line."""
HALF_PLATE_MM: Final = 1.2
"""Half the thickness of the plate that shows the corridor in 3D."""


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """The free space on the mid-disc plane, in (a, b) mm.

    middle_ab: of the measured line. outwards_ab: unit vector from the disc's centre. direction_deg: of the way in,
    0 straight from the left, 90 from the front.
    """

    shape: Polygon
    middle_ab: Points
    outwards_ab: Points
    direction_deg: float

    @property
    def arrow_ab(self) -> Points:
        """Start and tip (2, 2) of the arrow along the way in."""
        return self.middle_ab + np.outer(ARROW_MM, self.outwards_ab)


def find_corridor(line_ab: Points, disc: Polygon, solids: Sequence[Polygon]) -> Corridor | None:
    """Find the free space beside a measured line.

    line_ab: (2, 2) end points of OC. solids: psoas and vessels. The band as wide as the line, to the disc and
    `REACH_MM` outwards, less solids and disc; of its parts that which the line crosses. None where there is none.
    """
    start, end = line_ab
    middle = (start + end) / 2
    width = float(np.linalg.norm(end - start))
    outwards = middle - np.array(disc.centroid.coords[0])
    outwards = outwards / max(float(np.linalg.norm(outwards)), 1e-9)
    if width < MIN_WIDTH_MM or abs((end - start) @ outwards) / width > MAX_ALONG:
        return None
    far = REACH_MM * outwards
    band = Polygon([start - far, end - far, end + far, start + far])
    free = band.difference(unary_union([*solids, disc.buffer(-0.01)]))
    third = LineString([start + 0.3 * (end - start), start + 0.7 * (end - start)])
    parts = [p for p in getattr(free, "geoms", [free]) if p.intersects(third)]
    if not parts:
        return None
    shape = Polygon(max(parts, key=lambda p: float(p.area)).exterior)
    direction_deg = float(np.degrees(np.arctan2(-outwards[1], outwards[0])))
    return Corridor(shape, middle, outwards, direction_deg)


def corridor_plate(corridor: Corridor, plane: Plane) -> Mesh:
    """Return the corridor as a closed plate, `HALF_PLATE_MM` to both sides of the plane."""
    outline = shapely.geometry.polygon.orient(corridor.shape.simplify(0.1))
    triangles = shapely.constrained_delaunay_triangles(outline).geoms
    up = HALF_PLATE_MM * np.array(plane.normal)
    corners = []
    for triangle in triangles:
        lps = to_lps(plane, np.array(shapely.geometry.polygon.orient(triangle).exterior.coords)[:3])
        corners += [lps + up, lps[::-1] - up]
    ring = to_lps(plane, np.array(outline.exterior.coords))
    for a, b in pairwise(ring):
        corners += [np.array([a + up, a - up, b + up]), np.array([b + up, a - up, b - up])]
    vertices = np.concatenate(corners)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    if signed_volume(vertices, faces) < 0:
        faces = faces[:, ::-1]
    return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32))
