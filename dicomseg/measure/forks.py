"""Where the aorta divides and the common iliac veins join: heights above the mid-disc plane, by counting sections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from dicomseg.measure.bifurcation import Alternatives, vessel_sections
from dicomseg.measure.further import Definition, refused_value, stored_points
from dicomseg.measure.marks import unsure_marks
from dicomseg.measure.plane import Raster, move_plane, to_lps
from dicomseg.measure.polygons import MIN_AREA_MM2, MIN_BRANCH_SHARE, find_regions
from dicomseg.measure.scene import Scene
from dicomseg.measure.score_field import OUTLINE_SHIFT, look_up
from dicomseg.measure.uncertainty import PLANE_MOVES_TEXT, Spread, combine, why_lost
from dicomseg.result import FurtherValue, Plane, Refusal
from dicomseg.segmentation import Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points

ForkPlace = Literal["at", "above", "below", "unclear"]

RASTER: Final = Raster(-45.0, -60.0, 1.5, (61, 44))
REACH_MM: Final = 54.0
STEPS_MM: Final = (3.0, 2.0)
"""Distances of the sections that are counted: an answer counts where both give it."""
AGREEMENT_MM: Final = 4.0
_RUN: Final = 3
"""Sections on both sides of a fork that must agree."""
_LEAVING: Final = 9
"""Most sections at the lower end on which one branch may be alone."""
VESSELS: Final[tuple[StructureId, ...]] = ("aa", "ivc")


_METHOD: Final = (
    "height above the mid-disc plane along its normal, negative below it, at which one cross-section becomes two, counted on"
    " parallel planes every 3 and every 2 mm; point: on the line from the vessel's section in the mid-disc plane along the normal"
)
AORTA: Final = Definition("aortic_bifurcation_height", "mm", _METHOD)
VEINS: Final = Definition("iliac_confluence_height", "mm", _METHOD)
FORKS: Final[Mapping[StructureId, Definition]] = MappingProxyType({"aa": AORTA, "ivc": VEINS})
_NAMES: Final = {"aa": "aortic bifurcation", "ivc": "confluence of the common iliac veins"}
_PLANE_MM, _PLANE_DEG = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Fork:
    """Where two branches meet: `at` a height above the plane in mm, beyond what is in view, or not clear."""

    place: ForkPlace
    height_mm: float = 0.0
    differ_mm: float = 0.0
    """Difference of the heights that the two step widths give."""
    soft_mm: tuple[float, ...] = ()
    """Heights with outlines moved inwards and outwards, of those that are clear."""


def fork_values(scene: Scene) -> dict[str, FurtherValue]:
    """Return the height of both forks, or whether it lies out of view or is unclear."""
    plane = scene.middle.plane
    found = find_forks(scene.seg, plane)
    out = {}
    for name, what in FORKS.items():
        refusal = scene.refusals.get(name) or _refusal(name, found[name])
        if refusal is not None:
            out[what.name] = refused_value(what, refusal)
            continue
        out[what.name] = _value(what, name, found[name], scene)
    return out


def _refusal(name: StructureId, fork: Fork) -> Refusal | None:
    label = _NAMES[name]
    if fork.place == "at":
        return None
    if fork.place == "unclear":
        return Refusal(
            "fork_unclear", f"{label}: counts of cross-sections do not show one clear place"
        )
    text = f"{label}: {fork.place} the part in view"
    return (
        Refusal("fork_above_view", text)
        if fork.place == "above"
        else Refusal("fork_below_view", text)
    )


def _value(what: Definition, name: StructureId, fork: Fork, scene: Scene) -> FurtherValue:
    """Give the height with its uncertainty: of the steps, and of the plane moved and tilted below a distant fork."""
    parts = vessel_sections(scene.anatomy, name)
    centres = np.array([p.section.centre_ab for p in parts]).reshape(-1, 2)
    a, b = centres.mean(axis=0) if len(parts) else (0.0, 0.0)
    # a value between two sections lies anywhere between them
    step = math.hypot(float(np.mean(STEPS_MM)) / 2, fork.differ_mm / 2) / math.sqrt(3)
    tilt = math.radians(_PLANE_DEG)
    moved = math.sqrt((_PLANE_MM**2 + (a * tilt) ** 2 + (b * tilt) ** 2) / 3)
    sizes = {"steps": step, f"plane ({PLANE_MOVES_TEXT})": moved}
    spread = Spread(fork.height_mm, sizes, fork.soft_mm, ())
    unsure = combine(spread, Alternatives(), why_lost(spread))
    marks = unsure_marks(unsure.soft)
    texts = (f"the two step widths differ by {fork.differ_mm:.1f} mm", *(t for _, t in marks))
    plane = move_plane(scene.middle.plane, fork.height_mm)
    return FurtherValue(
        what.name,
        what.method,
        what.unit,
        value=fork.height_mm,
        uncertainty=unsure.sd,
        range=unsure.range,
        uncertainty_note=unsure.note,
        softness=unsure.softness if len(fork.soft_mm) == 2 else None,
        start=_NAMES[name],
        end="mid-disc plane",
        points_lps=stored_points(plane, np.array([a, b])) if len(parts) else (),
        note="; ".join(texts),
        flags=(*scene.flags, *(flag for flag, _ in marks)),
    )


def find_forks(seg: Segmentation, plane: Plane) -> dict[StructureId, Fork]:
    """Count artery and vein sections along the normal, at two step widths that must agree.

    Counted again with outlines moved inwards and outwards, at the wider step alone.
    """
    answers: dict[StructureId, list[Fork]] = {name: [] for name in VESSELS}
    soft: dict[StructureId, list[Fork]] = {name: [] for name in VESSELS}
    for step in STEPS_MM:
        heights = np.arange(-REACH_MM, REACH_MM + step / 2, step)
        for name, margin in _vessel_margins(seg, plane, heights).items():
            stack = _Stack(name, plane, heights, margin)
            shifts = (0.0, -OUTLINE_SHIFT, OUTLINE_SHIFT) if step == max(STEPS_MM) else (0.0,)
            found, *moved = (fork_of(c, heights.tolist()) for c in stack.counts(seg, shifts))
            answers[name].append(found)
            soft[name] += moved
    return {
        name: replace(
            agreed(found), soft_mm=tuple(f.height_mm for f in soft[name] if f.place == "at")
        )
        for name, found in answers.items()
    }


def _vessel_margins(seg: Segmentation, plane: Plane, heights: Points) -> dict[StructureId, Array]:
    """Margins (a, b, height) of arteries and veins on evenly spaced planes.

    All other classes are one channel, their largest logit in every voxel.
    """
    bottom = move_plane(plane, float(heights[0]))
    step = float(heights[1] - heights[0])
    axes = np.array([plane.e_left, plane.e_back, plane.normal]).T
    origin = to_lps(bottom, np.array([RASTER.a_mm, RASTER.b_mm]))
    inverse = np.linalg.inv(seg.scores.affine[:3, :3])
    matrix = inverse @ (axes * [RASTER.step_mm, RASTER.step_mm, step])
    offset = inverse @ (origin - seg.scores.affine[:3, 3])
    shape = (*RASTER.shape, len(heights))
    ends = offset + np.array(np.meshgrid(*((0, n - 1) for n in shape))).reshape(3, -1).T @ matrix.T
    size = np.array(seg.scores.logits.shape[1:])
    start = np.clip(np.floor(ends.min(axis=0)).astype(int), 0, size - 1)
    stop = np.clip(np.ceil(ends.max(axis=0)).astype(int) + 1, start + 1, size)
    logits = seg.scores.logits[(slice(None), *map(slice, start, stop))]
    values = [BY_ID[name].value for name in VESSELS]
    rest = np.delete(logits, values, axis=0).max(axis=0)

    def sample(channel: Array) -> Array:
        sampled: Array = ndimage.affine_transform(
            channel, matrix, offset - start, shape, np.float32, 1, "nearest"
        )
        return sampled

    artery, vein = (sample(logits[value]) for value in values)
    other = sample(rest)
    return {"aa": artery - np.maximum(vein, other), "ivc": vein - np.maximum(artery, other)}


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """The margin (a, b, height) of one vessel on planes at heights (n,) in mm."""

    name: StructureId
    plane: Plane
    heights: Points
    margin: Array

    def counts(self, seg: Segmentation, shifts: Sequence[float]) -> list[list[int]]:
        """Count the sections on every plane, as `find_regions` finds them, for each shift of the margin."""
        own = np.moveaxis(self.margin, -1, 0).copy()
        near = np.argwhere(own > -max(shifts))
        ab = np.array([RASTER.a_mm, RASTER.b_mm]) + RASTER.step_mm * near[:, 1:]
        lps = to_lps(self.plane, ab) + np.outer(self.heights[near[:, 0]], self.plane.normal)
        in_view, labels = look_up(seg, lps)
        own[tuple(near[~in_view].T)] = -np.inf
        labelled = np.zeros(own.shape, bool)
        labelled[tuple(near.T)] = labels == BY_ID[self.name].value
        levels = range(len(own))
        return [
            [self._count(own[level] + np.float32(shift), labelled[level]) for level in levels]
            for shift in shifts
        ]

    def _count(self, own: Array, labelled: Array) -> int:
        parts, kept, _ = find_regions(self.name, own, labelled, RASTER)
        areas = np.bincount(parts.ravel())[kept] * RASTER.step_mm**2
        return int((areas >= max(MIN_AREA_MM2, MIN_BRANCH_SHARE * areas.max(initial=0.0))).sum())


def fork_of(counts: Sequence[int], heights_mm: Sequence[float]) -> Fork:
    """Find the fork in counts of sections at ascending heights.

    Heights without a section are out of view; so are single sections at the lower end with two above them: there one
    branch has left the picture.
    """
    seen = [(n, h) for n, h in zip(counts, heights_mm, strict=True) if n > 0]
    first = next((k for k, (n, _) in enumerate(seen) if n > 1), 0)
    seen = seen[first:] if first <= _LEAVING else seen
    if len(seen) < 2 * _RUN:
        return Fork("unclear")
    numbers = np.array([n for n, _ in seen])
    if (numbers == 1).all():
        return Fork("below")
    if (numbers >= 2).all():
        return Fork("above")
    changes = np.flatnonzero((numbers[1:] == 1) != (numbers[:-1] == 1))
    if len(changes) != 1 or numbers[-1] != 1:
        return Fork("unclear")
    at = int(changes[0])
    if at + 1 < _RUN or len(numbers) - at - 1 < _RUN:
        return Fork("unclear")
    return Fork("at", (seen[at][1] + seen[at + 1][1]) / 2)


def agreed(answers: Sequence[Fork]) -> Fork:
    """Return the answer that all give, with the mean height; not clear where they differ."""
    places = {answer.place for answer in answers}
    heights = [answer.height_mm for answer in answers]
    differ = max(heights) - min(heights)
    if len(places) > 1 or differ > AGREEMENT_MM:
        return Fork("unclear")
    return Fork(answers[0].place, sum(heights) / len(heights), differ)
