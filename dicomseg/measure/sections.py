"""Name the outlines on the mid-disc plane: which psoas, which vessel, or why neither.

Left is +x of the patient (DICOM LPS), which `Plane.e_left` carries; array order means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dicomseg.measure.branches import MAX_BRANCHES
from dicomseg.measure.contours import Outlines
from dicomseg.measure.lengths import TOUCH_MM, Span, gap, nearest_mm
from dicomseg.measure.polygons import Section
from dicomseg.result import Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, SEGMENTS, Side, StructureId
from dicomseg.volume import Array

SECOND_PSOAS: Final = 0.2
"""A further section on one side larger than this share of the largest may be the muscle too."""

ACROSS_MM: Final = 5.0
"""A psoas section that reaches this far to both sides of the disc centre joins both muscles."""

CUT_CLEARANCE_MM: Final = 0.25
"""A distance is exact when the truncated edge is farther away by this: one raster step and a contour error."""

MAX_LONE_BRANCH_MM: Final = 16.0
"""A lone artery section right of the disc's centre is the aorta when it is wider, the right common iliac artery otherwise:
common iliac arteries 10.9 ± 1.7, aorta 17.5 ± 2.1 mm (Kim 2022, PLoS One e0268077)."""

ONE_NAME: Final[dict[StructureId, str]] = {"aa": "abdominal aorta", "ivc": "inferior vena cava"}
TWO_NAMES: Final[dict[StructureId, str]] = {"aa": "common iliac artery", "ivc": "common iliac vein"}
MEASURED: Final[tuple[StructureId, ...]] = ("ivd", "dura", "aa", "pm", "ivc")


@dataclass(frozen=True, slots=True, eq=False)
class NamedSection:
    """A named section, e.g. "left common iliac artery".

    others: further sections of which any may be the same thing; a length that would be shorter from one of them is not
    known.
    """

    name: str
    section: Section
    others: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A length on the plane between two named things."""

    span: Span
    start: str
    end: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """The outlines of one plane as anatomy; a `Refusal` where a part cannot be used.

    sac_tilt_deg: angle between the plane's normal and the course of the dural sac, None where that is not known.
    """

    left_psoas: NamedSection | Refusal
    right_psoas: NamedSection | Refusal
    arteries: tuple[NamedSection, ...] | Refusal
    veins: tuple[NamedSection, ...] | Refusal
    dura: NamedSection | Refusal
    disc: NamedSection | Refusal
    sac_tilt_deg: float | None = None

    def psoas(self, side: Side) -> NamedSection | Refusal:
        """Return the psoas of one side."""
        return self.left_psoas if side == "left" else self.right_psoas


def unmeasurable(seg: Segmentation) -> dict[StructureId, Refusal]:
    """Return the structures from which nothing may be measured, whatever the plane shows.

    One whose expected place lies outside the image is unmeasurable only where nothing of it was found: `distance`
    judges what the image border may hide, line by line.
    """
    out: dict[StructureId, Refusal] = {}
    array = seg.labels.volume.array
    for structure in MEASURED:
        label = BY_ID[structure].label
        finding = next(
            (f for f in seg.findings if f.severity == "refusal" and f.structure == structure), None
        )
        absent = not _is_present(array, BY_ID[structure].value)
        if absent and structure in seg.outside_view:
            out[structure] = _outside(label)
        elif finding is not None:
            out[structure] = Refusal(finding.code, finding.text)
        elif absent:
            out[structure] = Refusal("missing", f"{label}: not found")
    return out


def _is_present(array: Array, value: int) -> bool:
    """Whether a value occurs; most do in a sixty-fourth of the voxels, which takes a tenth of the time."""
    return bool((array[::4, ::4, ::4] == value).any() or (array == value).any())


def _outside(label: str) -> Refusal:
    return Refusal("outside_image", f"{label}: outside the image")


def name_sections(
    outlines: Outlines, seg: Segmentation, refusals: dict[StructureId, Refusal], middle_a: float
) -> Anatomy:
    """Name the sections. middle_a: the disc's centre along `e_left`, which parts left from right."""
    sides = _psoas(outlines, seg, refusals, middle_a)
    return Anatomy(
        left_psoas=sides[0],
        right_psoas=sides[1],
        arteries=_vessels("aa", outlines, refusals),
        veins=_vessels("ivc", outlines, refusals),
        dura=_only_one("dura", "dural sac", outlines, refusals),
        disc=_only_one("ivd", "L4/5 disc", outlines, refusals),
    )


def _only_one(
    structure: StructureId, name: str, outlines: Outlines, refusals: dict[StructureId, Refusal]
) -> NamedSection | Refusal:
    """The largest section of a structure that there is one of."""
    if structure in refusals:
        return refusals[structure]
    sections = outlines.sections.get(structure, ())
    return NamedSection(name, sections[0]) if sections else _no_section(BY_ID[structure].label)


def _no_section(label: str) -> Refusal:
    return Refusal("no_section", f"{label}: not visible in the mid-disc plane")


def _vessels(
    structure: StructureId, outlines: Outlines, refusals: dict[StructureId, Refusal]
) -> tuple[NamedSection, ...] | Refusal:
    if structure in refusals:
        return refusals[structure]
    sections = outlines.sections.get(structure, ())
    if not sections:
        return _no_section(BY_ID[structure].label)
    if len(sections) > MAX_BRANCHES:  # only where giving the thinnest away left a third one
        return Refusal(
            "too_many_components",
            f"{BY_ID[structure].label}: {len(sections)} cross-sections in the mid-disc plane, at most 2 are possible",
        )
    if len(sections) == 1:
        return (NamedSection(ONE_NAME[structure], sections[0]),)
    left = max(sections, key=lambda s: s.centre_ab[0])
    sides = ["left" if s is left else "right" for s in sections]
    return tuple(
        NamedSection(f"{side} {TWO_NAMES[structure]}", s)
        for side, s in zip(sides, sections, strict=True)
    )


def _psoas(
    outlines: Outlines, seg: Segmentation, refusals: dict[StructureId, Refusal], middle_a: float
) -> tuple[NamedSection | Refusal, NamedSection | Refusal]:
    if "pm" in refusals:
        return refusals["pm"], refusals["pm"]
    sections = outlines.sections.get("pm", ())
    for section in sections:
        low, _, high, _ = section.polygon.bounds
        if low < middle_a - ACROSS_MM and high > middle_a + ACROSS_MM:
            text = "left and right psoas are merged in the segmentation"
            return (Refusal("psoas_sides_unclear", text),) * 2
    left = tuple(s for s in sections if s.centre_ab[0] > middle_a)
    right = tuple(s for s in sections if s.centre_ab[0] <= middle_a)
    return _one_psoas("left", left, seg), _one_psoas("right", right, seg)


def _one_psoas(
    side: Side, sections: tuple[Section, ...], seg: Segmentation
) -> NamedSection | Refusal:
    if not sections:
        number = next(s.number for s in SEGMENTS if s.structure.id == "pm" and s.side == side)
        if not (seg.sides.array == number).any():
            label = f"Psoas major, {side}"
            is_outside = "pm" in seg.outside_view
            return _outside(label) if is_outside else Refusal("missing", f"{label}: not found")
        return _no_section(f"Psoas major, {side}")
    min_area = SECOND_PSOAS * sections[0].polygon.area
    others = tuple(s for s in sections[1:] if s.polygon.area > min_area)
    return NamedSection(f"{side} psoas major", sections[0], others)


def check_orientation(anatomy: Anatomy, disc_centre_ab: tuple[float, float]) -> Refusal | None:
    """Refuse everything when the parts lie where no patient has them: a flip, or situs inversus."""
    arteries, veins, dura = anatomy.arteries, anatomy.veins, anatomy.dura
    if (
        isinstance(arteries, tuple)
        and isinstance(veins, tuple)
        and _mean_a(veins) >= _mean_a(arteries)
    ):
        return Refusal(
            "orientation_unexpected",
            "IVC lies to the left of the aorta: check orientation; situs inversus or left-sided IVC?",
        )
    if isinstance(dura, NamedSection) and dura.section.centre_ab[1] <= disc_centre_ab[1]:
        return Refusal(
            "orientation_unexpected",
            "dural sac lies in front of the disc: check orientation",
        )
    return None


def check_sides(anatomy: Anatomy, middle_a: float) -> Anatomy:
    """Refuse a vessel of which only the branch of the far side was found, so that it is not taken for the near one.

    In 234 phantoms the arteries reach at least 6 mm to the left of the disc's centre, the veins 19 mm to its
    right. In one of four CT label maps, of a patient with scoliosis and an aneurysm of 46 mm, they do not.
    """
    arteries, veins = anatomy.arteries, anatomy.veins
    if isinstance(arteries, tuple) and len(arteries) == 1:
        section = arteries[0].section
        lies_right = section.polygon.bounds[2] < middle_a
        if lies_right and section.widest.length_mm < MAX_LONE_BRANCH_MM:
            text = "left common iliac artery not found; the only arterial cross-section is to the right of midline"
            arteries = Refusal("side_missing", text)
    if isinstance(veins, tuple) and all(p.section.polygon.bounds[0] > middle_a for p in veins):
        text = (
            "IVC or right common iliac vein not found; every venous cross-section is to the left of midline"
            " (left-sided IVC?)"
        )
        veins = Refusal("side_missing", text)
    return replace(anatomy, arteries=arteries, veins=veins)


def _mean_a(parts: tuple[NamedSection, ...]) -> float:
    areas = [p.section.polygon.area for p in parts]
    return float(np.average([p.section.centre_ab[0] for p in parts], weights=areas))


def distance(
    start: NamedSection | Refusal, *vessels: tuple[NamedSection, ...] | Refusal
) -> Line | Refusal:
    """Find the shortest line from a psoas, or the disc, to the nearest of the vessels.

    Refused where truncation could hide a shorter one.
    """
    if isinstance(start, Refusal):
        return start
    parts: list[NamedSection] = []
    for group in vessels:
        if isinstance(group, Refusal):
            return group
        parts += group
    spans = [(gap(start.section.polygon, p.section.polygon), p) for p in parts]
    span, nearest = min(spans, key=lambda pair: pair[0].length_mm)
    for other in start.others:
        other_mm = min(gap(other.polygon, p.section.polygon).length_mm for p in parts)
        if other_mm < span.length_mm - TOUCH_MM:
            return Refusal(
                "psoas_sides_unclear",
                f"several cross-sections of the {start.name}: {start.section.polygon.area:.0f} mm² at {span.length_mm:.1f} mm,"
                f" {other.polygon.area:.0f} mm² at {other_mm:.1f} mm",
            )
    for part in parts:
        hidden = min(
            nearest_mm(start.section.polygon, part.section.truncation_ab),
            nearest_mm(part.section.polygon, start.section.truncation_ab),
        )
        if span.length_mm >= hidden - CUT_CLEARANCE_MM:
            return Refusal(
                "cut_by_image",
                f"{start.name} or {part.name} is truncated at the image border:"
                f" {span.length_mm:.1f} mm is only an upper bound",
            )
    return Line(span, start.name, nearest.name)


def diameter(parts: tuple[NamedSection, ...] | Refusal) -> Line | Refusal:
    """Return the largest diameter of a vessel's section; of two branches that of the wider one, which is named.

    Refused where the image border truncates the wider one; a narrower branch that is truncated is named in the note.
    """
    if isinstance(parts, Refusal):
        return parts
    spans = [(p.section.widest, p) for p in parts]
    span, widest = max(spans, key=lambda pair: pair[0].length_mm)
    if widest.section.is_truncated:
        return Refusal("cut_by_image", f"{widest.name} is truncated at the image border")
    texts = [
        f"{p.name}: {s.length_mm:.1f} mm, {p.section.polygon.area:.0f} mm²"
        + (" (truncated at the image border)" if p.section.is_truncated else "")
        for s, p in spans
    ]
    return Line(span, widest.name, widest.name, "; ".join(texts))
