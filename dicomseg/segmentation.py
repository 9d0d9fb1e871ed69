"""`Segmentation`: level, scores, labels and findings of one volume; `NotInView` where there is no L4/5."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dicomseg.structures import CHANNELS, StructureId
from dicomseg.volume import Array, Points, Volume

LEVEL_NAME = "L4/L5"
COUNTING_RULE = "L4/5 is the second disc above the sacrum"
"""A convention, not anatomy: written into every result, since transitional vertebrae break it."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where the L4/5 disc lies: LPS mm, unit normal towards the head, confidence in 0…1."""

    centre_lps: tuple[float, float, float]
    normal: tuple[float, float, float]
    confidence: float
    warnings: tuple[str, ...] = ()
    name: str = LEVEL_NAME
    rule: str = COUNTING_RULE


@dataclass(frozen=True, slots=True)
class NotInView:
    """The medical answer "there is no L4/5 in this volume" with its reason."""

    reason: str = "L4/5 not in the field of view"


@dataclass(frozen=True, slots=True)
class Finding:
    """A plausibility finding: `refusal` means that nothing may be measured from `structure`."""

    code: str
    text: str
    severity: Literal["warning", "refusal"]
    structure: StructureId | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Class logits on their own grid: what is measured.

    logits: (channels, i, j, k) float32, read-only; channel 0 is background.
    affine: (4, 4), index (i, j, k) to LPS mm. The grid may be coarser than the image.
    """

    logits: Array
    affine: Points

    def __post_init__(self) -> None:
        if self.logits.ndim != 4 or self.logits.shape[0] != CHANNELS:
            raise ValueError(f"scores need {CHANNELS} channels in front, got {self.logits.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Structure values on the source grid, and the mask of voxels that were analysed.

    volume: uint8 `Volume`, 0 background, 1…8 as in `dicomseg.structures`.
    analysed_mask: bool array of the same shape; False = outside the window, so 0 there means nothing.
    """

    volume: Volume
    analysed_mask: Array

    def __post_init__(self) -> None:
        if self.analysed_mask.shape != self.volume.shape or self.volume.array.dtype != np.uint8:
            raise ValueError("labels are uint8 and need an analysed mask of the same shape")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which model ran, on what, in which effective precision; written into every object."""

    name: str
    version: str
    digest: str
    engine: str
    precision: str


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The segmentation of one volume in which L4/5 was found."""

    level: Level
    labels: Labels
    sides: Volume
    """uint8 on the source grid: segment numbers 1…10 of `dicomseg.structures.SEGMENTS`, split in patient space."""
    scores: Scores
    engine: EngineInfo
    findings: tuple[Finding, ...] = ()
    confidence: dict[StructureId, float] = field(default_factory=dict)
    """Mean softmax probability inside each present structure, 0…1."""
    outside_view: frozenset[StructureId] = frozenset()
    """Structures whose expected position is outside the image or the window."""
    timings_s: dict[str, float] = field(default_factory=dict)
