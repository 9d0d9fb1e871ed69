"""What the outlines of one plane say beside lengths: areas, positions relative to the disc, shares of its width.

Each function answers for one plane, with a refusal where the image border may hide what makes its value wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.measure.sections import Anatomy, NamedSection
from dicomseg.result import Refusal
from dicomseg.volume import Points

HIDDEN_MM: Final = 2.0
"""An outline is nearly convex: its end is the true one where the image border truncates it no nearer than this."""

OUTLINE_STEP_MM: Final = 0.05
"""Points of a stored outline lie this near to the measured one."""

ZONES: Final = ("A", "I", "II", "III", "IV", "P")
"""Before the disc, its quarters from front to back, behind it."""

_LEFT, _BACK = 0, 1
_CENTRE: Final = "centre of the L4/5 disc"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A further value on one plane.

    start, end: what was measured, and relative to what. points_ab: (n, 2) in mm, what is stored with it. sensitivity:
    how far the value changes, in its unit, when the outlines that it depends on are displaced by 1 mm each.
    """

    value: float
    start: str
    end: str
    points_ab: Points
    sensitivity: float
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """The outline point (2,) of a named section that is farthest in one direction."""

    name: str
    ab: Points


def section_area(part: NamedSection | Refusal) -> Reading | Refusal:
    """Return the area of a section in mm², refused where it is truncated."""
    if isinstance(part, Refusal):
        return part
    if part.section.is_truncated:
        return _truncated(part.name)
    if part.others:
        return _several(part.name)
    polygon = part.section.polygon
    points = np.array(polygon.exterior.simplify(OUTLINE_STEP_MM).coords)[:-1]
    return Reading(float(polygon.area), part.name, "", points, float(polygon.length))


def sac_area(anatomy: Anatomy) -> Reading | Refusal:
    """Return the area of the dural sac across its course, or in the plane where its course is not known."""
    found = section_area(anatomy.dura)
    if isinstance(found, Refusal):
        return found
    tilt, share = anatomy.sac_tilt_deg, 1.0
    note = "in the mid-disc plane: the course of the sac is not known"
    if tilt is not None:
        share = math.cos(math.radians(tilt))
        note = f"{found.value:.0f} mm² in the mid-disc plane, which lies {tilt:.0f}° oblique to the sac"
    points = found.points_ab
    return Reading(found.value * share, found.start, "", points, found.sensitivity * share, note)


def psoas_front(muscle: NamedSection | Refusal, disc: NamedSection | Refusal) -> Reading | Refusal:
    """Return how far in mm a psoas reaches in front of the disc, negative behind the disc's front."""
    tip, front = _end(muscle, _BACK, -1), _end(disc, _BACK, -1)
    if isinstance(tip, Refusal):
        return tip
    if isinstance(front, Refusal):
        return front
    foot = [tip.ab[0], front.ab[1]]
    value = float(front.ab[1] - tip.ab[1])
    return Reading(value, tip.name, front.name, np.array([tip.ab, foot]), math.sqrt(2))


def psoas_back(muscle: NamedSection | Refusal, disc: NamedSection | Refusal) -> Reading | Refusal:
    """Return where a psoas ends towards the back: 0 at the disc's front, 1 at its back."""
    tip, front, back = _end(muscle, _BACK, 1), _end(disc, _BACK, -1), _end(disc, _BACK, 1)
    if isinstance(tip, Refusal):
        return tip
    if isinstance(front, Refusal):
        return front
    if isinstance(back, Refusal):
        return back
    depth = float(back.ab[1] - front.ab[1])
    value = float(tip.ab[1] - front.ab[1]) / depth
    points = np.array([tip.ab, [tip.ab[0], front.ab[1]]])
    return Reading(value, tip.name, front.name, points, math.sqrt(2) / depth)


def zone_of(share: float) -> str:
    """Return the zone of a share of the disc's depth from its front: quarters I to IV, A before it, P behind it."""
    if share <= 0:
        return "A"
    return "P" if share > 1 else ZONES[1 + min(int(share * 4), 3)]


def vessel_cover(anatomy: Anatomy) -> Reading | Refusal:
    """Return the share of the disc's width that vessels cover when projected along the front to back direction."""
    left, right = _end(anatomy.disc, _LEFT, 1), _end(anatomy.disc, _LEFT, -1)
    if isinstance(left, Refusal):
        return left
    if isinstance(right, Refusal):
        return right
    vessels: list[NamedSection] = []
    for group in (anatomy.arteries, anatomy.veins):
        if isinstance(group, Refusal):
            return group
        vessels += group
    low, high = float(right.ab[0]), float(left.ab[0])
    for vessel in vessels:
        cut = vessel.section.truncation_ab
        if len(cut) and ((cut[:, 0] > low) & (cut[:, 0] < high)).any():
            return _truncated(vessel.name)
    bounds = [v.section.polygon.bounds for v in vessels]
    parts = _covered([(b[0], b[2]) for b in bounds], low, high)
    free_ends = sum(low < end < high for part in parts for end in part)
    front = float(min(left.ab[1], right.ab[1]))
    points = np.array([[a, front] for part in parts for a in part]).reshape(-1, 2)
    width = high - low
    value = sum(end - start for start, end in parts) / width
    names = " and ".join(v.name for v in vessels)
    return Reading(value, names, left.name, points, math.sqrt(max(free_ends, 1)) / width)


def vein_left_edge(anatomy: Anatomy) -> Reading | Refusal:
    """Return how far in mm the veins reach to the left of the disc's centre, negative where they end right of it."""
    disc, veins = anatomy.disc, anatomy.veins
    if isinstance(disc, Refusal):
        return disc
    if isinstance(veins, Refusal):
        return veins
    if disc.section.is_truncated:
        return _truncated(disc.name)
    ends: list[_End] = []
    for vein in veins:
        end = _end(vein, _LEFT, 1)
        if isinstance(end, Refusal):
            return end
        ends.append(end)
    edge = max(ends, key=lambda end: float(end.ab[0]))
    middle = disc.section.centre_ab[0]
    points = np.array([edge.ab, [middle, edge.ab[1]]])
    return Reading(float(edge.ab[0]) - middle, edge.name, _CENTRE, points, 1.0)


def _end(part: NamedSection | Refusal, axis: int, sign: int) -> _End | Refusal:
    """The end of a section along an axis, refused where the image border may hide a farther one."""
    if isinstance(part, Refusal):
        return part
    points = np.array(part.section.polygon.exterior.coords)[:-1]
    end: Points = points[int((sign * points[:, axis]).argmax())]
    truncation = part.section.truncation_ab
    if len(truncation) and np.linalg.norm(truncation - end, axis=1).min() < HIDDEN_MM:
        return _truncated(part.name)
    for other in part.others:
        if (sign * np.array(other.polygon.exterior.coords)[:, axis]).max() > sign * end[axis]:
            return _several(part.name)
    return _End(part.name, end)


def _truncated(name: str) -> Refusal:
    return Refusal("cut_by_image", f"{name} is truncated at the image border")


def _several(name: str) -> Refusal:
    return Refusal("psoas_sides_unclear", f"several cross-sections of the {name}")


def _covered(
    intervals: Sequence[tuple[float, float]], low: float, high: float
) -> list[tuple[float, float]]:
    """Disjoint parts of [low, high] that the intervals cover, in ascending order."""
    out: list[tuple[float, float]] = []
    for interval in sorted(intervals):
        start, end = max(interval[0], low), min(interval[1], high)
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out
