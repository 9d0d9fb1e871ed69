"""OC, DAA, DIVC, PI and their neighbours on the oblique mid-disc plane, with end points and uncertainty.

Every value is the distance of its two stored end points in LPS mm. A value that cannot be measured is
absent and says why; it is never 0 and never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dicomseg.measure import midplane
from dicomseg.measure.branches import widest_branch_mm
from dicomseg.measure.contours import COARSE_MM, Piece, Section, outlines, search
from dicomseg.measure.disc_height import disc_heights
from dicomseg.measure.lengths import max_feret, min_feret, solidity
from dicomseg.measure.midplane import MidPlane
from dicomseg.measure.plane import Raster, move_plane, to_lps
from dicomseg.measure.quantities import QUANTITIES, WIDEST, Quantity
from dicomseg.measure.score_field import ScoreField
from dicomseg.measure.sections import (
    MEASURED,
    Anatomy,
    Line,
    NamedSection,
    check_orientation,
    check_sides,
    interpret,
    unmeasurable,
)
from dicomseg.result import (
    MAIN_MEASUREMENTS,
    Measurement,
    Measurements,
    ModelError,
    Plane,
    Point,
    Refusal,
)
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import BY_ID, StructureId

MARGIN_MM: Final = 10.0
"""Depth of scores kept on both sides of the plane: the planes lie up to 4 mm away, or 4 mm at 120 mm
from the disc when tilted by 2°."""

CONTOUR_SHARE: Final = {"distance": 0.02, "diameter": 0.03}
"""Contour error (k = 1) as a share of the voxel: measured on smooth phantoms of known shape."""

PLANE_MOVES: Final = (
    ({"offset_mm": -1.0}, {"offset_mm": 1.0}),
    ({"pitch_deg": -2.0}, {"pitch_deg": 2.0}),
    ({"roll_deg": -2.0}, {"roll_deg": 2.0}),
)
"""How the plane is moved and tilted for its part of the uncertainty, in pairs."""

OUTLINE_SHIFT: Final = 2.0
"""By how much every structure's margin is raised and lowered to see how far a value moves: e² to 1 for the next one."""

PARALLEL_OFFSETS_MM: Final = (-4.0, -2.0, 2.0, 4.0)
"""Parallel planes on which vessel sections are counted to notice a bifurcation."""

MAX_SLICE_MM: Final = 2.0
"""Slices thicker than this are named in every value: the plane is uncertain by degrees."""

MIN_SOLIDITY: Final = 0.93
MIN_ROUNDNESS: Final = 0.6
"""Below this solidity, or ratio of least to largest diameter, one section may be two merged limbs."""

GRADE_MM: Final = (10.0, 20.0)
"""Corridor grades of Ng 2020 (Spine 45:E552): 0 none, 1 up to 10 mm, 2 up to 20 mm, 3 above."""

EXPECTED_MM: Final[Mapping[str, tuple[float, float]]] = {
    "OC": (0.0, 30.0),
    "DAA": (5.0, 30.0),
    "DIVC": (5.0, 45.0),
    "PI": (0.0, 12.0),
}
"""Values outside keep their number and are flagged. The paper's ranges are 0 to 21.8, 6.1 to 24.4, 8.7 to
36.7 mm, and PI 1.85 ± 1.38; corridors of 13.9 ± 8.2 mm are reported (Neurospine 2023;20:1450); above 30 mm
an aorta is an aneurysm."""

MAX_SOFTNESS_MM: Final = 2.0
"""A value that moves by more than this, up or down, between outlines that give and take by `OUTLINE_SHIFT` is flagged. Of 80 values
of 20 phantoms seven are, the errors of 5.0, 3.7 and 2.2 mm among them; the others are off by 1.9 mm at most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """Everything that one segmentation's values are made from.

    pairs: the anatomy on the moved planes of `PLANE_MOVES`. soft: on the plane itself, with outlines that give and take by
    `OUTLINE_SHIFT`. near: per vessel, its sections on the planes of
    `PARALLEL_OFFSETS_MM`, largest first. pieces: vessel sections that are no limbs.
    """

    seg: Segmentation
    middle: MidPlane
    anatomy: Anatomy
    pairs: tuple[tuple[Anatomy, Anatomy], ...]
    soft: tuple[Anatomy, Anatomy]
    near: dict[StructureId, tuple[tuple[Section, ...], ...]]
    voxel_mm: float
    flags: tuple[str, ...]
    model: Mapping[str, ModelError]
    pieces: tuple[Piece, ...]


def measure(seg: Segmentation, model: Mapping[str, ModelError] | None = None) -> Measurements:
    """Measure one segmentation.

    model: what this model version adds to the uncertainty, by measurement name; without it the uncertainty says that
    the model's part is not known.
    """
    general = next(
        (f for f in seg.findings if f.severity == "refusal" and f.structure is None), None
    )
    if general is not None:
        return _all_refused(Refusal(general.code, general.text), None)
    middle = midplane.find_midplane(seg)
    if isinstance(middle, Refusal):
        return _all_refused(middle, None)
    scene = _scene(seg, middle, model or {})
    if isinstance(scene, Refusal):
        return _all_refused(scene, middle.plane)
    lines = {q.name: _measurement(q, scene) for q in QUANTITIES}
    main = {name: lines.pop(name) for name in MAIN_MEASUREMENTS}
    return Measurements(
        middle.plane, main, lines | disc_heights(middle, scene.flags), _findings(scene)
    )


def _all_refused(refusal: Refusal, plane: Plane | None) -> Measurements:
    lines = {q.name: Measurement(q.name, q.method, q.side, refusal=refusal) for q in QUANTITIES}
    main = {name: lines.pop(name) for name in MAIN_MEASUREMENTS}
    return Measurements(plane, main, lines)


def _scene(
    seg: Segmentation, middle: MidPlane, model: Mapping[str, ModelError]
) -> _Scene | Refusal:
    plane = middle.plane
    raster = search(seg, plane, MEASURED)
    if raster is None:
        return Refusal("no_section", "no structure crosses the mid-disc plane")
    field = ScoreField.around(seg, to_lps(plane, raster.corners_ab), MARGIN_MM)
    here = outlines(field, plane, raster, MEASURED)
    disc = here.sections["ivd"]
    centre = disc[0].centre_ab if disc else (0.0, 0.0)
    bars = unmeasurable(seg)
    anatomy = interpret(here, seg, bars, centre[0])
    odd = check_orientation(anatomy, centre)
    if odd is not None:
        return odd
    anatomy = check_sides(anatomy, centre[0])
    coarse = raster.grown(COARSE_MM, COARSE_MM)

    def on(move: Mapping[str, float], gain: float = 0.0) -> Anatomy:
        there = outlines(
            field, move_plane(plane, **move), coarse, ("dura", "aa", "pm", "ivc"), gain
        )
        return check_sides(interpret(there, seg, bars, centre[0]), centre[0])

    return _Scene(
        seg,
        middle,
        anatomy,
        tuple((on(low), on(high)) for low, high in PLANE_MOVES),
        (on({}, -OUTLINE_SHIFT), on({}, OUTLINE_SHIFT)),
        _near(field, plane, anatomy),
        field.voxel_mm,
        _common_flags(seg, middle),
        model,
        here.pieces,
    )


def _common_flags(seg: Segmentation, middle: MidPlane) -> tuple[str, ...]:
    flags = []
    if max(seg.labels.volume.spacing_mm) > MAX_SLICE_MM:
        flags.append("thick_slices")
    if middle.pca_angle_deg > midplane.WARN_DEG:
        flags.append("plane_methods_differ")
    return tuple(flags)


def _near(
    field: ScoreField, plane: Plane, anatomy: Anatomy
) -> dict[StructureId, tuple[tuple[Section, ...], ...]]:
    """Sections on the parallel planes, of the vessels that are measured."""
    groups: dict[StructureId, tuple[NamedSection, ...] | Refusal] = {
        "aa": anatomy.arteries,
        "ivc": anatomy.veins,
    }
    wanted = {s: parts for s, parts in groups.items() if isinstance(parts, tuple)}
    if not wanted:
        return {}
    bounds = np.array([p.section.polygon.bounds for parts in wanted.values() for p in parts])
    (a0, b0), (a1, b1) = bounds[:, :2].min(axis=0) - 12.0, bounds[:, 2:].max(axis=0) + 12.0
    step = 2 * COARSE_MM
    small = Raster(a0, b0, step, (int((a1 - a0) / step) + 1, int((b1 - b0) / step) + 1))
    there = [
        outlines(field, move_plane(plane, offset), small, tuple(wanted))
        for offset in PARALLEL_OFFSETS_MM
    ]
    return {s: tuple(t.sections[s] for t in there) for s in wanted}


def _measurement(q: Quantity, scene: _Scene) -> Measurement:
    line = q.find(scene.anatomy)
    if isinstance(line, Refusal):
        return Measurement(q.name, q.method, q.side, refusal=line)
    points = _points(scene.middle.plane, line)
    value = math.dist(*points)
    nearby = _nearby(q, line, scene)
    doubt = _uncertainty(q, line, scene, nearby)
    marks = [*_section_marks(q, scene), *nearby.marks, *_value_marks(q, value, doubt)]
    notes = [line.note, *(note for _, note in marks)]
    grade, borderline = _grade(value, doubt.sd_mm) if q.name == "OC" else ("", False)
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
        uncertainty_mm=doubt.sd_mm,
        range_mm=doubt.range_mm,
        softness_mm=doubt.softness_mm,
        uncertainty_note=doubt.note,
        start=line.start,
        end=line.end,
        points_lps=points,
        note="; ".join(n for n in (*notes, grade) if n),
        flags=tuple(dict.fromkeys(flags)),
    )


REASSIGNED: Final = "section_reassigned"

Mark = tuple[str, str]
"""The code of a flag and its sentence."""


def _section_marks(q: Quantity, scene: _Scene) -> list[Mark]:
    """Flag a value of a vessel that lost or got a piece, and a diameter beside a limb that the image cuts."""
    touched = {
        name
        for piece in scene.pieces
        if piece.instead is not None
        for name in (piece.section.structure, piece.instead)
    }
    marks: list[Mark] = []
    if touched.intersection(q.vessels):
        text = "a piece of one vessel was taken for another structure: see the warnings"
        marks.append((REASSIGNED, text))
    if q.kind == "diameter":
        limbs = (p for name in q.vessels for p in _branches(scene.anatomy, name))
        cut = [p.name for p in limbs if p.section.is_truncated]
        marks += [
            ("limb_cut", f"{name} may be the wider one: the image ends in it") for name in cut
        ]
    return marks


def _value_marks(q: Quantity, value_mm: float, doubt: _Uncertainty) -> list[Mark]:
    """Flag a value outside what is expected, and one that moves with what the network is not sure of."""
    marks = []
    if doubt.softness_mm > MAX_SOFTNESS_MM:
        text = f"the outlines are unsure: {doubt.soft_mm[0]:.1f} to {doubt.soft_mm[1]:.1f} mm as they give or take"
        marks.append(("outline_unsure", text))
    low, high = EXPECTED_MM.get(q.name, (0.0, math.inf))
    if not low <= value_mm <= high:
        text = f"outside {low:g} to {high:g} mm as expected here: check the outlines"
        marks.append(("value_unexpected", text))
    return marks


def _points(plane: Plane, line: Line) -> tuple[Point, Point]:
    start, end = to_lps(plane, np.array([line.span.start_ab, line.span.end_ab])).tolist()
    return (start[0], start[1], start[2]), (end[0], end[1], end[2])


@dataclass(frozen=True, slots=True)
class _Uncertainty:
    """How sure a value is: one standard deviation in mm and what it contains, or a range where there is none.

    soft_mm: least and most of the value and of those between outlines that give and that take; softness_mm: half of it.
    """

    sd_mm: float | None
    range_mm: tuple[float, float] | None
    soft_mm: tuple[float, float]
    note: str

    @property
    def softness_mm(self) -> float:
        """Half of what the value moves by."""
        return (self.soft_mm[1] - self.soft_mm[0]) / 2


@dataclass(frozen=True, slots=True)
class _Nearby:
    """What a diameter may be as well: values in mm of parallel planes or of a part of its section, and why."""

    values: tuple[float, ...] = ()
    why: str = ""
    where: str = ""
    marks: tuple[Mark, ...] = ()


def _uncertainty(q: Quantity, line: Line, scene: _Scene, nearby: _Nearby) -> _Uncertainty:
    """Say how sure a value is."""
    value = line.span.length_mm
    contour = CONTOUR_SHARE[q.kind] * scene.voxel_mm
    given_taken = _soft_values(q, scene)
    soft = (min(value, *given_taken, value), max(value, *given_taken, value))
    error = scene.model.get(q.name)
    model = None if error is None else error.of((soft[1] - soft[0]) / 2)
    told = "model uncertainty not known" if model is None else f"model {model:.2f}"
    squares = [contour**2, (model or 0.0) ** 2]
    seen, lost, changed = [value, *nearby.values], 0, False
    for pair in scene.pairs:
        there = [q.find(anatomy) for anatomy in pair]
        values = [t.span.length_mm for t in there if isinstance(t, Line)]
        lost += len(pair) - len(values)
        seen += values
        squares.append((float(np.ptp([value, *values])) / 2) ** 2 / 3)
        changed |= q.kind == "diameter" and any(
            _count(q, a) != _count(q, scene.anatomy) for a in pair
        )
    moves = "plane moved ±1 mm, tilted ±2°"
    vanishes = len(given_taken) < len(scene.soft)
    reasons = (
        (nearby.why, nearby.why),
        (changed, "the number of vessel sections changes"),
        (lost, f"{lost} planes give no value"),
        (vanishes, "outlines that give or take where the network is not sure leave no value"),
    )
    why = next((text for holds, text in reasons if holds), "")
    if why:
        seen += given_taken if vanishes else []
        where = f"{moves}{nearby.where}"
        wide = 2 * math.sqrt(sum(squares[:2]))
        low, high = max(0.0, min(seen) - wide), max(seen) + wide
        said = f"range {low:.1f} to {high:.1f} mm, {where}: {why}; widened by twice contour {contour:.2f}, {told}"
        return _Uncertainty(None, (low, high), soft, said)
    plane = math.sqrt(sum(squares[2:]))
    note = f"k = 1: contour {contour:.2f}, plane {plane:.2f} ({moves}), {told}"
    return _Uncertainty(math.sqrt(sum(squares)), None, soft, note)


def _soft_values(q: Quantity, scene: _Scene) -> list[float]:
    """The value between outlines that give and that take, mm; fewer than two where it is refused there."""
    there = [q.find(anatomy) for anatomy in scene.soft]
    return [t.span.length_mm for t in there if isinstance(t, Line)]


def _count(q: Quantity, anatomy: Anatomy) -> int:
    parts = [p for name in q.vessels for p in _branches(anatomy, name)]
    return len(parts)


def _branches(anatomy: Anatomy, vessel: StructureId) -> tuple[NamedSection, ...]:
    """Sections of a vessel; none where it is refused."""
    parts = anatomy.arteries if vessel == "aa" else anatomy.veins
    return parts if isinstance(parts, tuple) else ()


def _nearby(q: Quantity, line: Line, scene: _Scene) -> _Nearby:
    """What else a vessel's diameter may be, near a bifurcation or where its section holds more than one vessel."""
    if q.kind != "diameter" or not q.vessels:
        return _Nearby()
    (vessel,) = q.vessels
    parts, rows = _branches(scene.anatomy, vessel), scene.near.get(vessel, ())
    if any(len(row) != len(parts) for row in rows):
        said = ", ".join(
            f"{len(r)} at {o:+g} mm" for r, o in zip(rows, PARALLEL_OFFSETS_MM, strict=True)
        )
        values = (_value_by_sections(q, scene, row) for row in rows if row)
        text = f"at a bifurcation: {len(parts)} sections here, {said}"
        return _Nearby(
            tuple(v for v in values if v is not None),
            "the number of vessel sections changes",
            f", and up to {max(PARALLEL_OFFSETS_MM):g} mm away",
            (("at_bifurcation", text),),
        )
    widest = next(p for p in parts if p.name == line.start)
    return _merged(q, widest, vessel, alone=len(parts) == 1)


def _merged(q: Quantity, part: NamedSection, vessel: StructureId, *, alone: bool) -> _Nearby:
    """Whether a section has the shape of more than one vessel, and how wide the widest part of it is.

    A vein is flat by nature: only its bays tell, and only where it is one: the left limb lies about the disc's front.
    """
    polygon = part.section.polygon
    ratio = min_feret(polygon).length_mm / max_feret(polygon).length_mm
    is_solid = solidity(polygon) >= MIN_SOLIDITY
    if (is_solid and ratio >= MIN_ROUNDNESS) if vessel == "aa" else (is_solid or not alone):
        return _Nearby()
    what = "two merged limbs" if alone else "a limb and a part of a neighbouring vessel"
    shape = f"(solidity {solidity(polygon):.2f}, least to largest {ratio:.2f})"
    values = (widest_branch_mm(polygon),) if q.method == WIDEST else ()
    more = f": its widest part alone {values[0]:.1f} mm" if values else ""
    text = f"the section looks like {what} {shape}{more}"
    flag = "at_bifurcation" if alone else "section_merged"
    return _Nearby(values, f"the section looks like {what}" if values else "", "", ((flag, text),))


def _value_by_sections(q: Quantity, scene: _Scene, sections: Sequence[Section]) -> float | None:
    """The vessel's value by its sections on another plane; None where it has none."""
    parts = tuple(NamedSection(str(n), s) for n, s in enumerate(sections))
    is_artery = q.vessels == ("aa",)
    here = scene.anatomy
    line = q.find(replace(here, arteries=parts) if is_artery else replace(here, veins=parts))
    return None if isinstance(line, Refusal) else line.span.length_mm


def _grade(value_mm: float, unsure_mm: float | None) -> tuple[str, bool]:
    """Return the corridor grade as a text, and whether a limit lies within twice the uncertainty."""
    grade = 0 if value_mm == 0 else 1 + sum(value_mm > limit for limit in GRADE_MM)
    near = [limit for limit in GRADE_MM if abs(value_mm - limit) < 2 * (unsure_mm or 0.0)]
    names = ("none", "up to 10 mm", "10 to 20 mm", "above 20 mm")
    return f"grade {grade} ({names[grade]}; Ng 2020)" + (" borderline" if near else ""), bool(near)


def _findings(scene: _Scene) -> tuple[Finding, ...]:
    out = []
    if "thick_slices" in scene.flags:
        thick = max(scene.seg.labels.volume.spacing_mm)
        out.append(
            Finding("thick_slices", f"slices of {thick:.1f} mm: lengths are uncertain", "warning")
        )
    if "plane_methods_differ" in scene.flags:
        text = f"two ways to find the disc plane differ by {scene.middle.pca_angle_deg:.1f}°"
        out.append(Finding("plane_methods_differ", text, "warning", "ivd"))
    for piece in scene.pieces:
        name = piece.section.structure
        taken = "" if piece.instead is None else f"taken for {BY_ID[piece.instead].label}"
        text = (
            f"{BY_ID[name].label}: a section of {piece.section.polygon.area:.0f} mm² in the mid-disc plane is {piece.why}"
            f" and was {taken or 'left out of the measurements'}: check the outlines"
        )
        code = REASSIGNED if taken else "section_left_out"
        out.append(Finding(code, text, "warning", name))
    return tuple(out)
