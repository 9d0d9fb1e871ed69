"""Scores of parts of structures, beside the strict ones, where readers draw by rules of their own."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Volume
from training.data.cases import IGNORED, Case
from training.data.label_rules import L4_ENDPLATE, L5_ENDPLATE, ruled
from training.evaluate import metrics
from training.evaluate.metrics import Score

NEAR_MM: Final = 35.0
"""How far from the disc's centre the canal counts as near: about a vertebra's height. Readers end it where they like."""
Part = Literal["disc without end plates", "canal near the disc"]
"""Scores beside those of the structures. disc without end plates: what the reader left unlabelled between disc and bodies
does not count, nor the border of disc and body where there is no such strip. canal near the disc: within `NEAR_MM`."""


def part_scores(case: Case, predicted: Volume, counted: Array) -> dict[Part, Score]:
    """Score the parts of a case that a reader labelled; a phantom has none: its labels draw everything.

    predicted: label values on the case's grid. counted: bool, the voxels that the strict scores count.
    """
    if case.source == "phantom":
        return {}
    endplates = np.isin(ruled(case).labels, (L4_ENDPLATE, L5_ENDPLATE, IGNORED))
    boxes: dict[Part, tuple[StructureId, Array]] = {
        "disc without end plates": ("ivd", counted & ~endplates),
        "canal near the disc": ("dura", counted & _near_the_disc(case)),
    }
    out: dict[Part, Score] = {}
    for part, (name, inside) in boxes.items():
        value = BY_ID[name].value
        truth = (case.labels == value) & inside
        found = (predicted.array == value) & inside
        score = metrics.score(found, truth, predicted.spacing_mm)
        if name in case.labelled and score is not None:
            out[part] = score
    return out


def _near_the_disc(case: Case) -> Array:
    """Return the voxels that lie at most `NEAR_MM` above or below the disc's centre, along its normal."""
    normal = np.asarray(case.level_normal)
    along = case.affine[:3, :3].T @ normal
    start = float((case.affine[:3, 3] - np.asarray(case.level_centre_lps)) @ normal)
    i, j, k = np.ogrid[tuple(slice(n) for n in case.labels.shape)]
    return np.asarray(np.abs(start + i * along[0] + j * along[1] + k * along[2]) <= NEAR_MM)
