"""The oblique mid-plane of the L4/5 disc: the plane that bisects its two end-plate faces.

The faces are found where the disc's margin crosses zero along lines through the disc, between voxels:
no staircase of a label map, and independent of the image's slice thickness as far as the scores are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.faces import BEYOND_MM, STEP_MM, exits, fit_face, least_axis
from dicomseg.measure.score_field import OUTLINE_SHIFT, ScoreField
from dicomseg.result import Plane, Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points, to_point

LINE_MM: Final = 1.25
"""Distance of the lines through the disc: about 1,000 of them cross an adult disc."""

MIN_FACE_MM2: Final = 128.0
"""Smallest area of a face that determines a plane: 200 voxels of 0.8 mm."""

WARN_DEG: Final = 3.0
REFUSE_DEG: Final = 8.0
"""Angles between the bisector and the main axes of the disc that are warned of and refused."""

MIN_DISC_VOXELS: Final = 50

Faces = tuple[Points, Points]
"""(lines, 3) LPS points of the disc's faces towards L4 and L5, NaN where a line has none."""


@dataclass(frozen=True, slots=True, eq=False)
class MidPlane:
    """The plane and what it rests on.

    upper_lps, lower_lps: (lines, 3) points of the faces towards L4 and L5, NaN where a line has none;
    line n of both is the same line. upper_normal, lower_normal: of the planes fitted to them, towards the head.
    soft: the faces with the disc's outline moved inwards and outwards by `OUTLINE_SHIFT`, on the same lines.
    pca_angle_deg: angle to the disc's least main axis. wedge_deg: angle between the normals.
    bodies_lps: (voxels, 3) of the bodies of L4 and L5.
    """

    plane: Plane
    upper_lps: Points
    lower_lps: Points
    upper_normal: Points
    lower_normal: Points
    soft: tuple[Faces, Faces]
    pca_angle_deg: float
    wedge_deg: float
    bodies_lps: Mapping[StructureId, Points]


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
    return _bisector(seg, clouds, least_axis(disc, upwards))


def _voxels_lps(seg: Segmentation, structure: StructureId) -> Points:
    volume = seg.labels.volume
    return volume.to_patient(volume.where(BY_ID[structure].value))


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Logits (channels, lines, steps) at t (steps,) mm along the normal from feet (lines, 3)."""

    feet_lps: Points
    normal: Points
    t: Points
    logits: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Bisector:
    """Faces found along one direction, the normals of their planes, and the plane between them."""

    lines: _Lines
    faces: Faces
    normals: tuple[Points, Points]
    point: Points
    normal: Points


def _bisector(
    seg: Segmentation, clouds: Mapping[StructureId, Points], least: Points
) -> MidPlane | Refusal:
    field = ScoreField.around(seg, clouds["ivd"], 2 * BEYOND_MM)
    found = _bisect(field, clouds["ivd"], least)
    if not isinstance(found, Refusal):  # the second pass samples along the first one's bisector
        found = _bisect(field, clouds["ivd"], found.normal)
    if isinstance(found, Refusal):
        return found
    angle = angle_deg(found.normal, least)
    if angle > REFUSE_DEG:
        return Refusal(
            "plane_undetermined",
            f"disc plane not determined: two methods differ by {angle:.1f}°, at most {REFUSE_DEG:g}° are allowed",
        )
    plane = plane_at(found.point, found.normal)
    if plane is None:
        return Refusal(
            "orientation_unexpected",
            "disc plane is more than 70° off the axial plane: check orientation",
        )
    soft = _faces(found.lines, -OUTLINE_SHIFT), _faces(found.lines, OUTLINE_SHIFT)
    wedge = angle_deg(*found.normals)
    return MidPlane(plane, *found.faces, *found.normals, soft, angle, wedge, clouds)


def _bisect(field: ScoreField, disc: Points, along: Points) -> _Bisector | Refusal:
    """Find the plane between the disc's faces on lines along a direction."""
    lines = _lines(field, disc, along)
    faces = _faces(lines)
    for face, name in zip(faces, ("L4", "L5"), strict=True):
        area = np.isfinite(face[:, 0]).sum() * LINE_MM**2
        if area < MIN_FACE_MM2:
            return Refusal(
                "plane_undetermined",
                f"disc plane not determined: {area:.0f} mm² of the disc face towards {name}, at least {MIN_FACE_MM2:g} mm² are needed",
            )
    (p4, n4), (p5, n5) = (fit_face(face, along) for face in faces)
    normal = (n4 + n5) / np.linalg.norm(n4 + n5)
    middle = (p4 + p5) / 2
    above, below = n4 @ (p4 - middle), n5 @ (middle - p5)
    point = middle + normal * (above - below) / (n4 @ normal + n5 @ normal)
    return _Bisector(lines, faces, (n4, n5), point, normal)


def plane_at(point: Points, normal: Points) -> Plane | None:
    """Build the plane with its patient axes; None when the normal is not towards the head."""
    if normal[2] < 0.3:  # 70° from the body axis is no disc of a person lying straight
        return None
    left = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    left /= np.linalg.norm(left)
    back = np.cross(normal, left)
    return Plane(to_point(point), to_point(normal), to_point(left), to_point(back))


def angle_deg(a: Points, b: Points) -> float:
    """Return the angle between two unit vectors."""
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1.0, 1.0))))


def _lines(field: ScoreField, disc: Points, normal: Points) -> _Lines:
    """Sample lines along the normal through the disc."""
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
    return _Lines(feet, normal, t, field.along(feet, normal, t))


def _faces(lines: _Lines, gain: float = 0.0) -> Faces:
    """Points where the lines leave the disc towards L4 and towards L5."""
    disc, t = BY_ID["ivd"].value, lines.t
    upper = exits(lines.logits, t, disc, BY_ID["l4"].value, gain)
    lower = -exits(lines.logits[:, :, ::-1], -t[::-1], disc, BY_ID["l5"].value, gain)
    towards_l4, towards_l5 = (lines.feet_lps + at[:, None] * lines.normal for at in (upper, lower))
    return towards_l4, towards_l5
