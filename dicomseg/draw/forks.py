"""Where the aorta divides and the iliac veins join, relative to the mid-disc plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dicomseg.measure.contours import outline_sections
from dicomseg.measure.plane import Raster, move_plane
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Plane
from dicomseg.structures import StructureId

ForkPlace = Literal["at", "above", "below", "unclear"]

RASTER: Final = Raster(-45.0, -60.0, 1.0, (91, 66))
REACH_MM: Final = 54.0
STEPS_MM: Final = (3.0, 2.0)
"""Distances of the sections that are counted: an answer counts where both give it."""
AGREEMENT_MM: Final = 4.0
_RUN: Final = 3
"""Sections on both sides of a fork that must agree."""
_LEAVING: Final = 9
"""Most sections at the lower end on which one branch may be alone."""
VESSELS: Final[tuple[StructureId, ...]] = ("aa", "ivc")


@dataclass(frozen=True, slots=True)
class Fork:
    """Where two branches meet: `at` a height above the plane in mm, beyond what is in view, or not clear."""

    place: ForkPlace
    height_mm: float = 0.0


def find_forks(field: ScoreField, plane: Plane) -> dict[StructureId, Fork]:
    """Count artery and vein sections along the normal, at two step widths that must agree."""
    ladders = [np.arange(-REACH_MM, REACH_MM + step / 2, step).tolist() for step in STEPS_MM]
    counts = {
        height: _counts(field, move_plane(plane, height))
        for height in sorted({height for ladder in ladders for height in ladder})
    }
    return {
        name: agreed([fork_of([counts[h][name] for h in ladder], ladder) for ladder in ladders])
        for name in VESSELS
    }


def _counts(field: ScoreField, plane: Plane) -> dict[StructureId, int]:
    sections = outline_sections(field, plane, RASTER, VESSELS).sections
    return {name: len(sections[name]) for name in VESSELS}


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
    if len(places) > 1 or max(heights) - min(heights) > AGREEMENT_MM:
        return Fork("unclear")
    return Fork(answers[0].place, sum(heights) / len(heights))
