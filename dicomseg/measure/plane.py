"""In-plane coordinates and rasters of the mid-disc plane, and planes moved from it.

In-plane coordinates are (a, b) in mm: a along `e_left`, b along `e_back` from the plane's point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dicomseg.result import Plane
from dicomseg.volume import Array, Points, to_point


@dataclass(frozen=True, slots=True)
class Raster:
    """A regular raster on a plane: first point (a, b), step and number of points along both."""

    a_mm: float
    b_mm: float
    step_mm: float
    shape: tuple[int, int]

    @property
    def corners_ab(self) -> Points:
        """The four corners (4, 2) in mm."""
        (na, nb), step = self.shape, self.step_mm
        return np.array(
            [
                [self.a_mm + a, self.b_mm + b]
                for a in (0, (na - 1) * step)
                for b in (0, (nb - 1) * step)
            ]
        )

    def grown(self, by_mm: float, step_mm: float) -> Raster:
        """Return the same area, larger by `by_mm` on every side, with another step."""
        (na, nb), old = self.shape, self.step_mm
        shape = tuple(int(np.ceil(((n - 1) * old + 2 * by_mm) / step_mm)) + 1 for n in (na, nb))
        return Raster(self.a_mm - by_mm, self.b_mm - by_mm, step_mm, (shape[0], shape[1]))


def to_lps(plane: Plane, ab: Array) -> Points:
    """Convert in-plane points (..., 2) in mm to LPS (..., 3)."""
    axes = np.array([plane.e_left, plane.e_back])
    lps: Points = np.asarray(ab, dtype=np.float64) @ axes + np.array(plane.point_lps)
    return lps


def to_plane(plane: Plane, lps: Array) -> Points:
    """Convert LPS points (..., 3) to in-plane coordinates (..., 2): the foot of the perpendicular."""
    axes = np.array([plane.e_left, plane.e_back])
    ab: Points = (np.asarray(lps, dtype=np.float64) - np.array(plane.point_lps)) @ axes.T
    return ab


def move_plane(
    plane: Plane, offset_mm: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0
) -> Plane:
    """Shift a plane along its normal and tilt it about its left axis (pitch) or its back axis (roll)."""
    normal, left, back = (np.array(v) for v in (plane.normal, plane.e_left, plane.e_back))
    pitch, roll = np.deg2rad(pitch_deg), np.deg2rad(roll_deg)
    normal, back = (
        normal * np.cos(pitch) + back * np.sin(pitch),
        back * np.cos(pitch) - normal * np.sin(pitch),
    )
    normal, left = (
        normal * np.cos(roll) + left * np.sin(roll),
        left * np.cos(roll) - normal * np.sin(roll),
    )
    point = np.array(plane.point_lps) + offset_mm * np.array(plane.normal)
    return replace(
        plane,
        point_lps=to_point(point),
        normal=to_point(normal),
        e_left=to_point(left),
        e_back=to_point(back),
    )
