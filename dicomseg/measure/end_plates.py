"""Sagittal angles between end plates: across the disc, and across the segment from L4's upper to L5's lower one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.bifurcation import Alternatives
from dicomseg.measure.faces import BEYOND_MM, exits, fit_face, tilt_error_deg
from dicomseg.measure.further import Definition, refused_value
from dicomseg.measure.midplane import LINE_MM, MIN_FACE_MM2, MidPlane
from dicomseg.measure.score_field import OUTLINE_SHIFT, ScoreField, look_up
from dicomseg.measure.uncertainty import Spread, combine, why_lost
from dicomseg.result import FurtherValue, Plane, Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Point, Points, to_point

LINE_STEP_MM: Final = 0.75
PLATE_LINE_MM: Final = 2.0
"""Step along the lines through a body, and their distance: about 350 of them cross an adult end plate."""

SEEN_MM: Final = 1.5
"""So far beyond an end plate the image must reach, or the body may be cut there."""

MIN_SEEN_SHARE: Final = 0.8
"""Share of the lines through a body that must leave it inside the image."""

MIN_POINTS: Final = 30
"""Least points of an end plate whose outline was moved: 120 mm² of it."""

_SAGITTAL: Final = (
    "in the plane of the mid-disc plane's normal and its front to back axis, positive where they open to the front;"
    " points: front and back ends of the two lines"
)
DISC_ANGLE: Final = Definition(
    "disc_angle",
    "deg",
    f"angle between the lower end plate of L4 and the upper end plate of L5 {_SAGITTAL}",
)
SEGMENTAL_ANGLE: Final = Definition(
    "segmental_angle",
    "deg",
    f"angle between the upper end plate of L4 and the lower end plate of L5 {_SAGITTAL}",
)
ANGLES: Final = (DISC_ANGLE, SEGMENTAL_ANGLE)
_NAMES: Final = {
    "disc_angle": ("L4 lower end plate", "L5 upper end plate"),
    "segmental_angle": ("L4 upper end plate", "L5 lower end plate"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Plate:
    """An end plate: points (lines, 3) in LPS with gaps of NaN, and the same of outlines moved inwards and outwards."""

    lps: Points
    soft: tuple[Points, Points]
    line_mm: float


def end_plate_angles(
    seg: Segmentation, middle: MidPlane, flags: tuple[str, ...]
) -> dict[str, FurtherValue]:
    """Measure both angles; the segment's is refused where one of its end plates is not completely in view."""
    disc = tuple(
        _Plate(face, (inner, outer), LINE_MM)
        for face, inner, outer in (
            (middle.upper_lps, middle.soft[0][0], middle.soft[1][0]),
            (middle.lower_lps, middle.soft[0][1], middle.soft[1][1]),
        )
    )
    found = [
        _outer_plate(seg, middle, "l4", middle.upper_normal),
        _outer_plate(seg, middle, "l5", -middle.lower_normal),
    ]
    refusal = next((plate for plate in found if isinstance(plate, Refusal)), None)
    plates = [plate for plate in found if isinstance(plate, _Plate)]
    return {
        DISC_ANGLE.name: _angle(DISC_ANGLE, disc, middle, flags),
        SEGMENTAL_ANGLE.name: refused_value(SEGMENTAL_ANGLE, refusal)
        if refusal is not None
        else _angle(SEGMENTAL_ANGLE, plates, middle, flags),
    }


def _outer_plate(
    seg: Segmentation, middle: MidPlane, body: StructureId, outwards: Points
) -> _Plate | Refusal:
    """Find the end plate of a body that is turned away from the disc, on lines along `outwards`."""
    name = "upper end plate of L4" if body == "l4" else "lower end plate of L5"
    finding = next(
        (f for f in seg.findings if f.severity == "refusal" and f.structure == body), None
    )
    if finding is not None:
        return Refusal(finding.code, finding.text)
    feet, t = _lines_through(middle.bodies_lps[body], outwards)
    field = ScoreField(seg.scores.logits, seg.scores.affine, 0.0, seg)
    logits, own = field.along(feet, outwards, t), BY_ID[body].value
    through = (logits.argmax(axis=0) == own).any(axis=1)
    at = exits(logits, t, own, None)
    seen = np.isfinite(at)
    beyond = feet[seen] + (at[seen] + SEEN_MM)[:, None] * outwards
    seen[seen] = look_up(seg, beyond)[0]
    area = seen.sum() * PLATE_LINE_MM**2
    if seen.sum() < MIN_SEEN_SHARE * through.sum() or area < MIN_FACE_MM2:
        return Refusal("cut_by_image", f"{name} is not completely in the image")

    def points(where: Array) -> Points:
        return feet + np.where(seen, where, np.nan)[:, None] * outwards

    soft = [points(exits(logits, t, own, None, gain)) for gain in (-OUTLINE_SHIFT, OUTLINE_SHIFT)]
    return _Plate(points(at), (soft[0], soft[1]), PLATE_LINE_MM)


def _lines_through(body_lps: Points, outwards: Points) -> tuple[Points, Points]:
    """Feet (lines, 3) of lines from the middle of a body, and the steps (n,) in mm along them to beyond its end."""
    side = np.cross(outwards, np.eye(3)[np.abs(outwards).argmin()])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(outwards, side), outwards])
    centre = body_lps.mean(axis=0)
    local = (body_lps - centre) @ frame.T
    low, high = local.min(axis=0), local.max(axis=0)
    a, b = (np.arange(low[n], high[n] + PLATE_LINE_MM, PLATE_LINE_MM) for n in (0, 1))
    feet = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2) @ frame[:2] + centre
    return feet, np.arange(0.0, high[2] + BEYOND_MM, LINE_STEP_MM)


def _angle(
    what: Definition, plates: Sequence[_Plate], middle: MidPlane, flags: tuple[str, ...]
) -> FurtherValue:
    plane = middle.plane
    normal, back = np.array(plane.normal), np.array(plane.e_back)
    value = _between(plane, [plate.lps for plate in plates])
    soft = [[plate.soft[n] for plate in plates] for n in (0, 1)]
    shifted = [_between(plane, faces) for faces in soft if all(_is_enough(f) for f in faces)]
    errors = [tilt_error_deg(p.lps, fit_face(p.lps, normal)[1], back, p.line_mm) for p in plates]
    fit = {"planes through the end plates": math.hypot(*errors)}
    spread = Spread(value, fit, shifted, (), unit=what.unit)
    unsure = combine(spread, Alternatives(), why_lost(spread))
    start, end = _NAMES[what.name]
    return FurtherValue(
        what.name,
        what.method,
        what.unit,
        value=value,
        uncertainty=unsure.sd,
        range=unsure.range,
        uncertainty_note=unsure.note,
        softness=unsure.softness,
        start=start,
        end=end,
        points_lps=tuple(point for plate in plates for point in _ends(plane, plate.lps)),
        flags=flags,
    )


def _is_enough(face: Points) -> bool:
    """Whether a face has the points that a plane needs."""
    return int(np.isfinite(face[:, 0]).sum()) >= MIN_POINTS


def _between(plane: Plane, faces: Sequence[Points]) -> float:
    """Sagittal angle in degrees between an upper and a lower face, positive where they open to the front."""
    normal, back = np.array(plane.normal), np.array(plane.e_back)
    fitted = [fit_face(face, normal)[1] for face in faces]
    upper, lower = (math.degrees(math.atan2(n @ back, n @ normal)) for n in fitted)
    return upper - lower


def _ends(plane: Plane, face: Points) -> tuple[Point, Point]:
    """Front and back end of a face's line in the sagittal plane through its centre."""
    centre, normal = fit_face(face, np.array(plane.normal))
    up, back = np.array(plane.normal), np.array(plane.e_back)
    along = back - up * (normal @ back) / (normal @ up)
    reach = (face[np.isfinite(face[:, 0])] - centre) @ back
    return to_point(centre + reach.min() * along), to_point(centre + reach.max() * along)
