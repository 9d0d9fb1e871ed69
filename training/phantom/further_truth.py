"""Measure a phantom's further values on its implicit surfaces: areas, positions, angles, where vessels divide."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.structures import BY_ID, Side, StructureId
from dicomseg.volume import Points
from training.phantom.rasterise import level_fields
from training.phantom.scene import Anatomy
from training.phantom.truth import (
    DiscPlane,
    Sections,
    cut_sections,
    enclosed_area,
    fit_plane,
    nearest_outlines,
    plate_points,
)

SAC_OFFSET_MM: Final = 6.0
"""Planes between which the sac's course is taken, as in the measuring code."""
_COARSE_MM: Final = 0.3
FORK_REACH_MM: Final = 54.0
FORK_STEP_MM: Final = 1.0
_COUNT_MM: Final = 0.5
_SMALLEST_MM2: Final = 8.0


def measure_further_truth(anatomy: Anatomy, plane: DiscPlane) -> dict[str, float | None]:
    """Return the true further values by the names of `dicomseg.measure`, in their units; None where there is none."""
    cut = cut_sections(anatomy, plane)
    disc = cut.outlines["ivd"][0]
    sides: tuple[tuple[Side, float], ...] = (("left", 1.0), ("right", -1.0))
    out: dict[str, float | None] = {}
    for side, sign in sides:
        out |= _psoas(cut, disc, side, sign)
    low, high = float(disc[:, 0].min()), float(disc[:, 0].max())
    vessels = [*cut.outlines["aa"], *cut.outlines["ivc"]]
    out["vessel_cover"] = _covered(vessels, low, high) if vessels else None
    veins = cut.outlines["ivc"]
    edge = max(float(v[:, 0].max()) for v in veins) if veins else None
    out["vein_left_edge"] = None if edge is None else edge - float(_centroid(disc)[0])
    for name, structure in (("artery_disc", "aa"), ("vein_disc", "ivc")):
        out[name] = _gap(disc, cut.outlines[structure])  # type: ignore[index]
    out["dural_sac_area"] = _sac_area(anatomy, plane, cut)
    return out | _angles(anatomy, plane) | _forks(anatomy, plane)


def _psoas(cut: Sections, disc: Points, side: Side, sign: float) -> dict[str, float | None]:
    middle = disc[:, 0].mean()
    muscle = [p for p in cut.outlines["pm"] if sign * (p[:, 0].mean() - middle) > 0]
    if not muscle:
        return {f"psoas_{what}_{side}": None for what in ("area", "front", "zone")}
    outline = muscle[0]
    front, back = float(disc[:, 1].min()), float(disc[:, 1].max())
    return {
        f"psoas_area_{side}": enclosed_area(outline),
        f"psoas_front_{side}": front - float(outline[:, 1].min()),
        f"psoas_zone_{side}": (float(outline[:, 1].max()) - front) / (back - front),
    }


def _covered(vessels: list[Points], low: float, high: float) -> float:
    ticks = np.linspace(low, high, 20_001)
    inside = [(ticks >= v[:, 0].min()) & (ticks <= v[:, 0].max()) for v in vessels]
    return float(np.any(inside, axis=0).mean())


def _gap(disc: Points, parts: tuple[Points, ...]) -> float | None:
    gaps = [nearest_outlines(disc, part)[0] for part in parts]
    return min(gaps) if gaps else None


def _centroid(outline: Points) -> Points:
    """Centroid of the area inside an outline."""
    x, y = outline.T
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y1 - x1 * y
    total = 3.0 * cross.sum()
    return np.array([((x + x1) * cross).sum() / total, ((y + y1) * cross).sum() / total])


def _sac_area(anatomy: Anatomy, plane: DiscPlane, cut: Sections) -> float | None:
    """Area across the sac's course between its centres on two parallel planes."""
    if not cut.outlines["dura"]:
        return None
    centres = []
    for offset in (-SAC_OFFSET_MM, SAC_OFFSET_MM):
        moved = cut_sections(anatomy, _moved(plane, offset), _COARSE_MM)
        if not moved.outlines["dura"]:
            return None
        centres.append(moved.lps(_centroid(moved.outlines["dura"][0])))
    course = centres[1] - centres[0]
    cosine = float(course @ plane.normal / np.linalg.norm(course))
    return enclosed_area(cut.outlines["dura"][0]) * cosine


def _moved(plane: DiscPlane, offset_mm: float) -> DiscPlane:
    x, y, z = np.asarray(plane.point_lps) + offset_mm * np.asarray(plane.normal)
    return replace(plane, point_lps=(float(x), float(y), float(z)))


def _angles(anatomy: Anatomy, plane: DiscPlane) -> dict[str, float | None]:
    """Sagittal angles between planes through the true end plates, positive where they open to the front."""
    up, back = np.asarray(plane.normal), plane.axes[1]

    def tilt(body: str, *, upper: bool) -> float:
        points = plate_points(anatomy.column.bodies[body], upper=upper)
        normal = fit_plane(anatomy.patient_pose.to_lps(points))[1]
        normal = normal if normal @ up > 0 else -normal
        return math.degrees(math.atan2(normal @ back, normal @ up))

    return {
        "disc_angle": tilt("l4", upper=False) - tilt("l5", upper=True),
        "segmental_angle": tilt("l4", upper=True) - tilt("l5", upper=False),
    }


def _forks(anatomy: Anatomy, plane: DiscPlane) -> dict[str, float | None]:
    """Height at which the true sections of a vessel change from two to one; None where they do not, or not once."""
    heights = np.arange(-FORK_REACH_MM, FORK_REACH_MM + FORK_STEP_MM / 2, FORK_STEP_MM)
    counts: dict[StructureId, list[int]] = {"aa": [], "ivc": []}
    for height in heights:
        for name, count in _counts(anatomy, _moved(plane, float(height))).items():
            counts[name].append(count)
    names: dict[str, StructureId] = {
        "aortic_bifurcation_height": "aa",
        "iliac_confluence_height": "ivc",
    }
    return {name: _change(np.array(counts[of]), heights) for name, of in names.items()}


def _change(counts: Points, heights: Points) -> float | None:
    seen = counts > 0
    one = (counts == 1)[seen]
    at = np.flatnonzero(one[1:] & ~one[:-1])
    if len(at) != 1 or (~one[1:] & one[:-1]).any():
        return None
    return float(heights[seen][at[0]] + FORK_STEP_MM / 2)


def _counts(anatomy: Anatomy, plane: DiscPlane) -> dict[StructureId, int]:
    """Numbers of artery and vein sections in front of the column."""
    step = _COUNT_MM
    a, b = np.meshgrid(np.arange(-60, 60, step), np.arange(-70, 15, step), indexing="ij")
    left, back = plane.axes
    lps = plane.point_lps + a[..., None] * left + b[..., None] * back
    levels = level_fields(anatomy.strokes, anatomy.patient_pose.to_anatomy(lps))
    out: dict[StructureId, int] = {}
    names: tuple[StructureId, ...] = ("aa", "ivc")
    for name in names:
        parts, count = ndimage.label(levels[BY_ID[name].value] < 0)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * step**2
        out[name] = int((sizes >= _SMALLEST_MM2).sum())
    return out
