"""Several SEG of one series as one set of labels: each draws its segments over what was there before.

Readers store one structure per object, or only what they corrected: what an object does not describe stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dicomseg.read.seg_labels import SegLabels, structure_values
from dicomseg.read.segments import Part, numbers_of
from dicomseg.structures import SEGMENTS, STRUCTURES, StructureId
from dicomseg.volume import Array


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """numbers: those of `SEGMENTS` on the grid, uint8. owners: index of the object that each described one comes from."""

    numbers: Array
    owners: Mapping[int, int]

    @property
    def labels(self) -> Array:
        """Structure values on the grid, uint8."""
        return structure_values(self.numbers)

    @property
    def drawn(self) -> tuple[StructureId, ...]:
        """Structures that objects describe completely: a paired one with both sides."""
        return tuple(
            s.id for s in STRUCTURES if all(n in self.owners for n in numbers_of(Part(s.id)))
        )


def combine(base: Array, objects: Sequence[SegLabels]) -> Combined:
    """Draw objects over the labels of a result. base: numbers of `SEGMENTS` on the same grid. objects: oldest first.

    Each segment comes from the last object that describes it; its voxels win over those of older objects, and all win
    over the result.
    """
    owners = {n: at for at, drawn in enumerate(objects) for n in drawn.described}
    numbers = np.where(np.isin(base, list(owners)), 0, base).astype(np.uint8)
    for at, drawn in enumerate(objects):
        own = [s.number for s in SEGMENTS if owners.get(s.number) == at]
        inside = np.isin(drawn.numbers, own)
        numbers[inside] = drawn.numbers[inside]
    return Combined(numbers, owners)
