"""The oblique mid-plane of the L4/5 disc: the plane that bisects its two end-plate faces.

The faces are found where the disc's margin crosses zero along lines through the disc, between voxels:
no staircase of a label map, and independent of the image's slice thickness as far as the scores are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Plane, Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points, to_point

LINE_MM: Final = 1.25
"""Distance of the lines through the disc: about 1,000 of them cross an adult disc."""

STEP_MM: Final = 0.5
"""Step along a line; the crossing is interpolated between two steps."""

BEYOND_MM: Final = 4.0
"""How far the lines run past the disc: bone must follow within this distance, so that a layer of
unlabelled end-plate does not hide it."""

MIN_FACE_MM2: Final = 128.0
"""Smallest area of a face that determines a plane: 200 voxels of 0.8 mm."""

CORE_SHARE: Final = 0.8
"""Share of a face's radius that its plane is fitted to: rims are rounded, torn and grown over."""

WARN_DEG: Final = 3.0
REFUSE_DEG: Final = 8.0
"""Angles between the bisector and the main axes of the disc that are warned of and refused."""

MIN_DISC_VOXELS: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class MidPlane:
    """The plane and what it rests on.

    upper_lps, lower_lps: (lines, 3) points of the faces towards L4 and L5, NaN where a line has none;
    line n of both is the same line. pca_angle_deg: angle to the disc's least main axis.
    """

    plane: Plane
    upper_lps: Points
    lower_lps: Points
    pca_angle_deg: float
    wedge_deg: float


def find_midplane(seg: Segmentation) -> MidPlane | Refusal:
    """Find the plane that bisects the faces of the L4/5 disc, or say why there is none."""
    clouds: dict[StructureId, Points] = {}
    for structure in ("ivd", "l4", "l5"):
        cloud = _voxels_lps(seg, structure)
        if len(cloud) < MIN_DISC_VOXELS:
            name = BY_ID[structure].label
            return Refusal("plane_undetermined", f"disc plane not determined: {name} not found")
        clouds[structure] = cloud
    disc = clouds["ivd"]
    upwards = clouds["l4"].mean(axis=0) - clouds["l5"].mean(axis=0)
    if upwards[2] <= 0:
        return Refusal("orientation_unexpected", "L4 lies below L5: check orientation and labels")
    least = _least_axis(disc, upwards)
    return _bisector(seg, disc, least)


def _voxels_lps(seg: Segmentation, structure: StructureId) -> Points:
    volume = seg.labels.volume
    return volume.to_patient(volume.where(BY_ID[structure].value))


def _least_axis(points: Points, towards: Points) -> Points:
    """Unit axis of least variance (total least squares), signed to one side."""
    covariance = np.cov(points.T)
    axis: Points = np.linalg.eigh(covariance)[1][:, 0]
    return axis if axis @ towards >= 0 else -axis


def _bisector(seg: Segmentation, disc: Points, least: Points) -> MidPlane | Refusal:
    field = ScoreField.around(seg, disc, 2 * BEYOND_MM)
    normal = least
    upper = lower = np.empty((0, 3))
    n4 = n5 = least
    point = disc[0]
    for _ in range(2):  # the second pass samples along the first one's bisector
        upper, lower = _faces(field, disc, normal)
        for face, name in ((upper, "L4"), (lower, "L5")):
            area = np.isfinite(face[:, 0]).sum() * LINE_MM**2
            if area < MIN_FACE_MM2:
                return Refusal(
                    "plane_undetermined",
                    f"disc plane not determined: {area:.0f} mm² of the disc face towards {name}, at least {MIN_FACE_MM2:g} mm² are needed",
                )
        (p4, n4), (p5, n5) = _fit(upper, normal), _fit(lower, normal)
        normal = (n4 + n5) / np.linalg.norm(n4 + n5)
        middle = (p4 + p5) / 2
        above, below = n4 @ (p4 - middle), n5 @ (middle - p5)
        point = middle + normal * (above - below) / (n4 @ normal + n5 @ normal)
    angle = _angle_deg(normal, least)
    if angle > REFUSE_DEG:
        return Refusal(
            "plane_undetermined",
            f"disc plane not determined: two methods differ by {angle:.1f}°, at most {REFUSE_DEG:g}° are allowed",
        )
    plane = plane_at(point, normal)
    if plane is None:
        return Refusal(
            "orientation_unexpected",
            "disc plane is more than 70° off the axial plane: check orientation",
        )
    return MidPlane(plane, upper, lower, angle, _angle_deg(n4, n5))


def plane_at(point: Points, normal: Points) -> Plane | None:
    """Build the plane with its patient axes; None when the normal is not towards the head."""
    if normal[2] < 0.3:  # 70° from the body axis is no disc of a person lying straight
        return None
    left = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    left /= np.linalg.norm(left)
    back = np.cross(normal, left)
    return Plane(to_point(point), to_point(normal), to_point(left), to_point(back))


def _angle_deg(a: Points, b: Points) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1.0, 1.0))))


def _faces(field: ScoreField, disc: Points, normal: Points) -> tuple[Points, Points]:
    """Points (lines, 3) where lines along the normal leave the disc towards L4 and towards L5."""
    side = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(normal, side), normal])
    centre = disc.mean(axis=0)
    local = (disc - centre) @ frame.T
    low, high = local.min(axis=0), local.max(axis=0)
    a = np.arange(low[0], high[0] + LINE_MM, LINE_MM)
    b = np.arange(low[1], high[1] + LINE_MM, LINE_MM)
    t = np.arange(low[2] - BEYOND_MM, high[2] + BEYOND_MM, STEP_MM)
    feet = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2) @ frame[:2] + centre
    logits = field.along(feet, normal, t)
    upper = _exits(logits, t, BY_ID["l4"].value)
    lower = -_exits(logits[:, :, ::-1], -t[::-1], BY_ID["l5"].value)
    return feet + upper[:, None] * normal, feet + lower[:, None] * normal


def _exits(logits: Array, t: Array, bone: int) -> Points:
    """Where each line leaves the disc for good, if bone follows within reach; else NaN.

    The crossing is that of the first class to rise above the disc, each taken linearly between two
    steps: the margin itself has a bend there, which would move the face by a tenth of a step.
    """
    disc = BY_ID["ivd"].value
    best = logits.argmax(axis=0)
    inside = best == disc
    lines, steps = np.arange(len(best)), best.shape[1]
    last = steps - 1 - inside[:, ::-1].argmax(axis=1)
    ahead = np.minimum(last[:, None] + 1 + np.arange(int(BEYOND_MM / STEP_MM)), steps - 1)
    follows = (best[lines[:, None], ahead] == bone).any(axis=1)
    good = inside.any(axis=1) & (last < steps - 1) & follows
    following = np.minimum(last + 1, steps - 1)
    before = logits[disc, lines, last] - logits[:, lines, last]
    after = logits[disc, lines, following] - logits[:, lines, following]
    overtaken = (after < 0) & (before > after)
    share = np.divide(before, before - after, out=np.ones_like(before), where=overtaken).min(axis=0)
    return np.where(good, t[last] + STEP_MM * share, np.nan)


def _fit(face: Points, towards: Points) -> tuple[Points, Points]:
    """Plane of a face's core by total least squares without outliers: (centroid, unit normal)."""
    points = _core(face[np.isfinite(face[:, 0])])
    kept = points
    centre, normal = points.mean(axis=0), towards
    for _ in range(4):
        centre = kept.mean(axis=0)
        normal = _least_axis(kept, towards)
        residual = np.abs((points - centre) @ normal)
        kept = points[residual < max(1.2, 1.5 * float(np.median(residual)))]
        if len(kept) < 3:
            break
    return centre, normal


def _core(points: Points) -> Points:
    """Return the points within `CORE_SHARE` of the rim of an ellipse that has their spread."""
    away = points - points.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(away.T))
    # the variance along a semi-axis r of an evenly covered ellipse is r²/4
    share = ((away @ axes[:, 1:]) ** 2 / (4 * values[1:])).sum(axis=1)
    core: Points = points[share <= CORE_SHARE**2]
    return core
