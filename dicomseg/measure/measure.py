"""OC, DAA, DIVC, PI and their neighbours on the oblique mid-disc plane, with end points and uncertainty.

Every length is the distance of its two stored end points in LPS mm. A value that cannot be measured is
absent and says why; it is never 0 and never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from dicomseg.measure import midplane
from dicomseg.measure.bifurcation import alternatives, vessel_sections
from dicomseg.measure.disc_height import disc_heights, refused_heights
from dicomseg.measure.end_plates import ANGLES, end_plate_angles
from dicomseg.measure.forks import FORKS, fork_values
from dicomseg.measure.further import FURTHER, further_value, refused_value
from dicomseg.measure.marks import REASSIGNED, Mark, reassigned_marks, unsure_marks
from dicomseg.measure.plane import to_lps
from dicomseg.measure.quantities import QUANTITIES, Quantity
from dicomseg.measure.scene import Scene, build_scene
from dicomseg.measure.sections import Line
from dicomseg.measure.uncertainty import Uncertainty, estimate_uncertainty
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import Measurement, Measurements, ModelError, Plane, Refusal
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import BY_ID
from dicomseg.volume import Point

DEFINITIONS: Final = (*(q.what for q in FURTHER), *FORKS.values(), *ANGLES)
"""Every value that is not a length, in the order of the results."""

GRADE_MM: Final = (10.0, 20.0)
"""Corridor grades of Ng 2020 (Spine 45:E552): 0 none, 1 up to 10 mm, 2 up to 20 mm, 3 above."""

GRADE_NAMES: Final = ("none", "up to 10 mm", "10 to 20 mm", "above 20 mm")

EXPECTED_MM: Final[Mapping[str, tuple[float, float]]] = {
    "OC": (0.0, 30.0),
    "DAA": (5.0, 30.0),
    "DIVC": (5.0, 45.0),
    "PI": (0.0, 12.0),
}
"""Values outside keep their number and are flagged. The paper's ranges are 0 to 21.8, 6.1 to 24.4, 8.7 to
36.7 mm, and PI 1.85 ± 1.38; corridors of 13.9 ± 8.2 mm are reported (Neurospine 2023;20:1450); above 30 mm
an aorta is an aneurysm."""


def measure(seg: Segmentation, model: Mapping[str, ModelError] | None = None) -> Measurements:
    """Measure one segmentation.

    model: what this model version adds to the uncertainty, by measurement name; without it the uncertainty
    says that the model's part is unknown.
    """
    general = next(
        (f for f in seg.findings if f.severity == "refusal" and f.structure is None), None
    )
    if general is not None:
        return _all_refused(Refusal(general.code, general.text), None)
    middle = midplane.find_midplane(seg)
    if isinstance(middle, Refusal):
        return _all_refused(middle, None)
    scene = build_scene(seg, middle, model or {})
    if isinstance(scene, Refusal):
        return _all_refused(scene, middle.plane)
    lines = {q.name: _measurement(q, scene) for q in QUANTITIES}
    main = {name: lines.pop(name) for name in MAIN_MEASUREMENTS}
    further = {q.what.name: further_value(q, scene) for q in FURTHER}
    further |= fork_values(scene) | end_plate_angles(seg, middle, scene.flags)
    heights = disc_heights(middle, scene.voxel_mm, scene.flags)
    return Measurements(middle.plane, main, lines | heights, _findings(scene), further)


def _all_refused(refusal: Refusal, plane: Plane | None) -> Measurements:
    lines = {q.name: Measurement(q.name, q.method, q.side, refusal=refusal) for q in QUANTITIES}
    main = {name: lines.pop(name) for name in MAIN_MEASUREMENTS}
    further = {what.name: refused_value(what, refusal) for what in DEFINITIONS}
    return Measurements(plane, main, lines | refused_heights(refusal), (), further)


def _measurement(q: Quantity, scene: Scene) -> Measurement:
    line = q.find(scene.anatomy)
    if isinstance(line, Refusal):
        return Measurement(q.name, q.method, q.side, refusal=line)
    points = _points(scene.middle.plane, line)
    value = math.dist(*points)
    others = alternatives(q, line, scene)
    uncertainty = estimate_uncertainty(q, line, scene, others)
    marks = [*_section_marks(q, scene), *others.marks, *_value_marks(q, value, uncertainty)]
    notes = [line.note, *(note for _, note in marks)]
    grade, borderline = _grade(value, uncertainty.sd) if q.name == "OC" else ("", False)
    flags = [
        *scene.flags,
        *(flag for flag, _ in marks),
        *(["grade_borderline"] if borderline else []),
    ]
    return Measurement(
        q.name,
        q.method,
        q.side,
        value_mm=value,
        uncertainty_mm=uncertainty.sd,
        range_mm=uncertainty.range,
        softness_mm=uncertainty.softness,
        uncertainty_note=uncertainty.note,
        start=line.start,
        end=line.end,
        points_lps=points,
        note="; ".join(n for n in (*notes, grade) if n),
        flags=tuple(dict.fromkeys(flags)),
    )


def _section_marks(q: Quantity, scene: Scene) -> list[Mark]:
    """Flag a value of a vessel that lost or got a piece, and a diameter beside a branch that the image border truncates."""
    marks = reassigned_marks(q.vessels, scene)
    if q.kind == "diameter":
        sections = (p for name in q.vessels for p in vessel_sections(scene.anatomy, name))
        truncated = [p.name for p in sections if p.section.is_truncated]
        marks += [
            ("limb_cut", f"{name} is truncated at the image border and may be the wider one")
            for name in truncated
        ]
    return marks


def _value_marks(q: Quantity, value_mm: float, uncertainty: Uncertainty) -> list[Mark]:
    """Flag a value outside the expected range, and one that depends on uncertain boundaries."""
    marks = unsure_marks(uncertainty.soft)
    low, high = EXPECTED_MM.get(q.name, (0.0, math.inf))
    if not low <= value_mm <= high:
        text = f"outside the expected {low:g} to {high:g} mm: check the segmentation"
        marks.append(("value_unexpected", text))
    return marks


def _points(plane: Plane, line: Line) -> tuple[Point, Point]:
    start, end = to_lps(plane, np.array([line.span.start_ab, line.span.end_ab])).tolist()
    return (start[0], start[1], start[2]), (end[0], end[1], end[2])


def corridor_grade(value_mm: float) -> int:
    """Return the corridor grade, 0 to 3 (Ng 2020), of an oblique corridor in mm."""
    return 0 if value_mm == 0 else 1 + sum(value_mm > limit for limit in GRADE_MM)


def _grade(value_mm: float, unsure_mm: float | None) -> tuple[str, bool]:
    """Return the corridor grade as a text, and whether a limit lies within twice the uncertainty."""
    grade = corridor_grade(value_mm)
    near = [limit for limit in GRADE_MM if abs(value_mm - limit) < 2 * (unsure_mm or 0.0)]
    return f"grade {grade} ({GRADE_NAMES[grade]}; Ng 2020)" + (" borderline" if near else ""), bool(
        near
    )


def _findings(scene: Scene) -> tuple[Finding, ...]:
    findings = []
    if "thick_slices" in scene.flags:
        thick = max(scene.seg.labels.volume.spacing_mm)
        findings.append(
            Finding(
                "thick_slices", f"{thick:.1f} mm slices: distances are less accurate", "warning"
            )
        )
    if "plane_methods_differ" in scene.flags:
        text = f"two methods of finding the disc plane differ by {scene.middle.pca_angle_deg:.1f}°"
        findings.append(Finding("plane_methods_differ", text, "warning", "ivd"))
    for piece in scene.pieces:
        name = piece.section.structure
        area = f"{piece.section.polygon.area:.0f} mm²"
        other = "" if piece.instead is None else f"reassigned to {BY_ID[piece.instead].label}"
        text = (
            f"{BY_ID[name].label}: a cross-section of {area} in the mid-disc plane is {piece.why};"
            f" {other or 'excluded from the measurements'} — check the segmentation"
        )
        code = REASSIGNED if other else "section_left_out"
        findings.append(Finding(code, text, "warning", name))
    return tuple(findings)
