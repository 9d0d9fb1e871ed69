"""Heights of the L4/5 disc between its end-plate faces."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dicomseg.measure.midplane import MidPlane
from dicomseg.measure.plane import to_lps, to_plane
from dicomseg.result import Measurement, Refusal
from dicomseg.volume import Array, Point, to_point

DEPTHS: Final = {"anterior": 0.15, "middle": 0.5, "posterior": 0.85}
"""Where heights are taken, as shares of the disc's depth from its front."""

FACE_RADIUS_MM: Final = 3.0
"""The faces are smoothed by a plane over this radius: an end plate is smooth at that scale."""

_METHOD: Final = "distance of the disc's end-plate faces along the normal of the mid-disc plane"


def disc_heights(middle: MidPlane, flags: tuple[str, ...]) -> dict[str, Measurement]:
    """Measure the height at three depths in the middle of the disc's width, by name."""
    has_both = np.isfinite(middle.upper_lps[:, 0]) & np.isfinite(middle.lower_lps[:, 0])
    out = {}
    for place, share in DEPTHS.items():
        name = f"disc_height_{place}"
        points = _height(middle, has_both, share)
        if points is None:
            none = Refusal("plane_undetermined", "too few lines cross both faces of the disc")
            out[name] = Measurement(name, _METHOD, refusal=none)
            continue
        out[name] = Measurement(
            name,
            _METHOD,
            value_mm=math.dist(*points),
            start="disc face towards L5",
            end="disc face towards L4",
            points_lps=points,
            note=f"{share:.0%} of the depth from the front; angle between the faces {middle.wedge_deg:.1f}°",
            flags=flags,
        )
    return out


def _height(middle: MidPlane, has_both: Array, share: float) -> tuple[Point, Point] | None:
    """End points on the lower and the upper face, None without enough lines nearby."""
    if not has_both.any():
        return None
    plane, upper, lower = middle.plane, middle.upper_lps[has_both], middle.lower_lps[has_both]
    ab = to_plane(plane, (upper + lower) / 2)
    low, high = ab.min(axis=0), ab.max(axis=0)
    at = np.array([(low[0] + high[0]) / 2, low[1] + share * (high[1] - low[1])])
    near = np.linalg.norm(ab - at, axis=1) <= FACE_RADIUS_MM
    if near.sum() < 6:
        return None
    terms = np.column_stack([np.ones(near.sum()), ab[near] - at])
    normal, foot = np.array(plane.normal), to_lps(plane, at)
    ends = []
    for face in (lower, upper):
        heights = (face[near] - foot) @ normal
        height_mm = float(np.linalg.lstsq(terms, heights, rcond=None)[0][0])
        ends.append(to_point(foot + normal * height_mm))
    return ends[0], ends[1]
