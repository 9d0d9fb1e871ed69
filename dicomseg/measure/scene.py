"""`Scene`: a segmentation on its mid-disc plane and on planes and outlines near it, from which all values are taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dicomseg.measure import midplane
from dicomseg.measure.contours import COARSE_MM, find_raster, outline_sections
from dicomseg.measure.midplane import MidPlane, angle_deg
from dicomseg.measure.plane import Raster, move_plane, to_lps
from dicomseg.measure.polygons import Section
from dicomseg.measure.reassign import Piece
from dicomseg.measure.score_field import OUTLINE_SHIFT, ScoreField
from dicomseg.measure.sections import (
    MEASURED,
    Anatomy,
    NamedSection,
    check_orientation,
    check_sides,
    name_sections,
    unmeasurable,
)
from dicomseg.result import ModelError, Plane, Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import StructureId
from dicomseg.volume import Points

MARGIN_MM: Final = 10.0
"""Depth of scores kept on both sides of the plane: the planes lie up to 4 mm away, or 4 mm at 120 mm
from the disc when tilted by 2°."""

PLANE_MOVES: Final = (
    ({"offset_mm": -1.0}, {"offset_mm": 1.0}),
    ({"pitch_deg": -2.0}, {"pitch_deg": 2.0}),
    ({"roll_deg": -2.0}, {"roll_deg": 2.0}),
)
"""How the plane is moved and tilted for its part of the uncertainty, in pairs."""

_SAC: Final[tuple[StructureId, ...]] = ("dura",)
SAC_OFFSET_MM: Final = 6.0
"""Parallel planes between which the course of the dural sac is taken: an error of 0.2 mm of either centre is 1°."""

PARALLEL_OFFSETS_MM: Final = (-4.0, -2.0, 2.0, 4.0)
"""Parallel planes on which vessel sections are counted to notice a bifurcation."""

MAX_SLICE_MM: Final = 2.0
"""Slices thicker than this are named in every value: the plane is uncertain by degrees."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that one segmentation's values are made from.

    pairs: the anatomy on the moved planes of `PLANE_MOVES`. soft: on the plane itself, with outlines moved inwards and
    outwards by `OUTLINE_SHIFT`. near: per vessel, its sections on the planes of `PARALLEL_OFFSETS_MM`, largest first.
    pieces: sections that are not branches of their vessel. refusals: structures of which nothing may be measured.
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
    refusals: Mapping[StructureId, Refusal]


def build_scene(
    seg: Segmentation, middle: MidPlane, model: Mapping[str, ModelError]
) -> Scene | Refusal:
    """Outline and name the sections on the mid-disc plane and near it, or say why none can be used."""
    plane = middle.plane
    raster = find_raster(seg, plane, MEASURED)
    if raster is None:
        return Refusal("no_section", "no structure crosses the mid-disc plane")
    field = ScoreField.around(seg, to_lps(plane, raster.corners_ab), MARGIN_MM)
    planar = outline_sections(field, plane, raster, MEASURED)
    disc = planar.sections["ivd"]
    centre = disc[0].centre_ab if disc else (0.0, 0.0)
    refusals = unmeasurable(seg)
    anatomy = name_sections(planar, seg, refusals, centre[0])
    unexpected = check_orientation(anatomy, centre)
    if unexpected is not None:
        return unexpected
    course = _sac_course(field, plane, anatomy.dura)
    anatomy = _with_tilt(check_sides(anatomy, centre[0]), plane, course)
    coarse = raster.grown(COARSE_MM, COARSE_MM)

    def anatomy_on(move: Mapping[str, float], gain: float = 0.0) -> Anatomy:
        near = move_plane(plane, **move)
        moved = outline_sections(field, near, coarse, MEASURED, gain)
        named = name_sections(moved, seg, refusals, centre[0])
        return _with_tilt(check_sides(named, centre[0]), near, course)

    return Scene(
        seg,
        middle,
        anatomy,
        tuple((anatomy_on(low), anatomy_on(high)) for low, high in PLANE_MOVES),
        (anatomy_on({}, -OUTLINE_SHIFT), anatomy_on({}, OUTLINE_SHIFT)),
        _sections_nearby(field, plane, anatomy),
        field.voxel_mm,
        _common_flags(seg, middle),
        model,
        planar.pieces,
        refusals,
    )


def _common_flags(seg: Segmentation, middle: MidPlane) -> tuple[str, ...]:
    flags = []
    if max(seg.labels.volume.spacing_mm) > MAX_SLICE_MM:
        flags.append("thick_slices")
    if middle.pca_angle_deg > midplane.WARN_DEG:
        flags.append("plane_methods_differ")
    return tuple(flags)


def _with_tilt(anatomy: Anatomy, plane: Plane, course: Points | None) -> Anatomy:
    if course is None:
        return anatomy
    return replace(anatomy, sac_tilt_deg=angle_deg(np.array(plane.normal), course))


def _sac_course(field: ScoreField, plane: Plane, dura: NamedSection | Refusal) -> Points | None:
    """Unit vector of the dural sac's course: between its centres on two parallel planes; None where one has none."""
    if isinstance(dura, Refusal):
        return None
    a0, b0, a1, b1 = dura.section.polygon.bounds
    step = COARSE_MM
    shape = (int((a1 - a0) / step) + 1, int((b1 - b0) / step) + 1)
    raster = Raster(a0, b0, step, shape).grown(SAC_OFFSET_MM, step)
    centres = []
    for offset in (-SAC_OFFSET_MM, SAC_OFFSET_MM):
        moved = move_plane(plane, offset)
        sections = outline_sections(field, moved, raster, _SAC).sections["dura"]
        if not sections or sections[0].is_truncated:
            return None
        centres.append(to_lps(moved, np.array(sections[0].centre_ab)))
    course: Points = centres[1] - centres[0]
    return course / np.linalg.norm(course)


def _sections_nearby(
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
    planes = [
        outline_sections(field, move_plane(plane, offset), small, tuple(wanted))
        for offset in PARALLEL_OFFSETS_MM
    ]
    return {s: tuple(p.sections[s] for p in planes) for s in wanted}
