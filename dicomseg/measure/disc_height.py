"""Heights of the L4/5 disc between its end-plate faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.midplane import Faces, MidPlane
from dicomseg.measure.plane import to_lps, to_plane
from dicomseg.measure.uncertainty import CONTOUR_SHARE, standard_note
from dicomseg.result import Measurement, Refusal
from dicomseg.volume import Array, Point, Points, to_point

DEPTHS: Final = {"anterior": 0.15, "middle": 0.5, "posterior": 0.85}
"""Where heights are taken, as shares of the disc's depth from its front."""

FACE_RADIUS_MM: Final = 3.0
"""The faces are smoothed by a plane over this radius: an end plate is smooth at that scale."""

PLACE_MM: Final = 1.0
"""How far the place of a height may be off, as for the plane."""

_METHOD: Final = "distance of the disc's end-plate faces along the normal of the mid-disc plane"


@dataclass(frozen=True, slots=True)
class _Height:
    """End points on the lower and the upper face; slope: how the height changes in mm per mm in the plane."""

    ends: tuple[Point, Point]
    slope: float


def disc_heights(
    middle: MidPlane, voxel_mm: float, flags: tuple[str, ...]
) -> dict[str, Measurement]:
    """Measure the height at three depths in the middle of the disc's width, by name."""
    faces = (middle.upper_lps, middle.lower_lps)
    contour = CONTOUR_SHARE["distance"] * voxel_mm
    out = {}
    for place, share in DEPTHS.items():
        name, at = f"disc_height_{place}", _place(middle, share)
        found = None if at is None else _height(middle, faces, at)
        if at is None or found is None:
            none = Refusal("plane_undetermined", "too few lines cross both faces of the disc")
            out[name] = Measurement(name, _METHOD, refusal=none)
            continue
        value = math.dist(*found.ends)
        shifted = [h for soft in middle.soft if (h := _height(middle, soft, at)) is not None]
        soft = [value, *(math.dist(*h.ends) for h in shifted)]
        moved = found.slope * PLACE_MM / math.sqrt(3)
        parts = {"contour": contour, f"place (moved ±{PLACE_MM:g} mm)": moved}
        out[name] = Measurement(
            name,
            _METHOD,
            value_mm=value,
            uncertainty_mm=math.hypot(contour, moved),
            uncertainty_note=standard_note(parts, "mm"),
            softness_mm=(max(soft) - min(soft)) / 2 if len(shifted) == 2 else None,
            start="disc face towards L5",
            end="disc face towards L4",
            points_lps=found.ends,
            note=f"{share:.0%} of the depth from the front; angle between the faces {middle.wedge_deg:.1f}°",
            flags=flags,
        )
    return out


def refused_heights(refusal: Refusal) -> dict[str, Measurement]:
    """Return the three heights as absent, by name."""
    names = [f"disc_height_{place}" for place in DEPTHS]
    return {name: Measurement(name, _METHOD, refusal=refusal) for name in names}


def _both(faces: Faces) -> Array:
    return np.isfinite(faces[0][:, 0]) & np.isfinite(faces[1][:, 0])


def _place(middle: MidPlane, share: float) -> Points | None:
    """Where a height is taken, (2,) on the plane in mm."""
    has_both = _both((middle.upper_lps, middle.lower_lps))
    if not has_both.any():
        return None
    ab = to_plane(middle.plane, (middle.upper_lps[has_both] + middle.lower_lps[has_both]) / 2)
    low, high = ab.min(axis=0), ab.max(axis=0)
    return np.array([(low[0] + high[0]) / 2, low[1] + share * (high[1] - low[1])])


def _height(middle: MidPlane, faces: Faces, at: Points) -> _Height | None:
    """The height between two faces at a place, None without enough lines nearby."""
    plane, has_both = middle.plane, _both(faces)
    upper, lower = (face[has_both] for face in faces)
    ab = to_plane(plane, (upper + lower) / 2)
    near = np.linalg.norm(ab - at, axis=1) <= FACE_RADIUS_MM
    if near.sum() < 6:
        return None
    terms = np.column_stack([np.ones(near.sum()), ab[near] - at])
    normal, foot = np.array(plane.normal), to_lps(plane, at)
    fits = [
        np.linalg.lstsq(terms, (face[near] - foot) @ normal, rcond=None)[0]
        for face in (lower, upper)
    ]
    low, high = (to_point(foot + normal * float(fit[0])) for fit in fits)
    return _Height((low, high), float(np.linalg.norm(fits[1][1:] - fits[0][1:])))
