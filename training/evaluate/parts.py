"""Scores of parts of structures, beside the strict ones, where readers draw by rules of their own."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from scipy import ndimage

from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Volume
from training.data.cases import Case
from training.evaluate import metrics
from training.evaluate.metrics import Score

NEAR_MM: Final = 35.0
"""How far from the disc's centre the canal counts as near: about a vertebra's height. Readers end it where they like."""
MOST_GAP_MM: Final = 4.0
"""A disc further than this from a body has another reason than an end plate."""
LEAST_STRIP_MM: Final = 0.5
"""With less between disc and body, a reader left no strip; where the end plate is then, is not known."""
UNCLEAR_MM: Final = 1.5
"""So far from the border of disc and body nothing counts where the end plate's place is not known."""
SLACK_MM: Final = 0.6
"""How much longer than the straight way through the strip a way past one of its voxels may be."""
Part = Literal["disc without end plates", "canal near the disc"]
"""Scores beside those of the structures. disc without end plates: what the reader left unlabelled between disc and bodies
does not count, nor the border of disc and body where there is no such strip. canal near the disc: within `NEAR_MM`."""


def part_scores(case: Case, predicted: Volume, counted: Array) -> dict[Part, Score]:
    """Score the parts of a case that a reader labelled; a phantom has none: its labels draw everything.

    predicted: label values on the case's grid. counted: bool, the voxels that the strict scores count.
    """
    if case.source == "phantom":
        return {}
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    boxes: dict[Part, tuple[StructureId, Array]] = {
        "disc without end plates": ("ivd", counted & ~end_plates(case.labels, spacing)),
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


def end_plates(labels: Array, spacing: Array) -> Array:
    """Return the voxels that the end plates of L4/5 take or may take, bool (i, j, k).

    They are what the reader left unlabelled between the disc and a body, or, where there is no such strip, both sides of
    the border that the two share. labels: structure values (i, j, k). spacing: mm.
    """
    out = np.zeros(labels.shape, dtype=bool)
    bodies, disc = (BY_ID["l4"].value, BY_ID["l5"].value), BY_ID["ivd"].value
    if not np.isin((*bodies, disc), labels).all():
        return out
    for body in bodies:
        box = _about(labels, (body, disc), spacing)
        out[box] |= _end_plate(labels[box], body, disc, spacing)
    return out


def _end_plate(labels: Array, body: int, disc: int, spacing: Array) -> Array:
    """Return the voxels of `end_plates` between the disc and one body; none where the two do not face each other."""
    to_body, nearest_body = _distances(labels == body, spacing)
    to_disc, nearest_disc = _distances(labels == disc, spacing)
    back, forth = to_disc[nearest_body], to_body[nearest_disc]
    facing = (labels == disc) & (to_body <= MOST_GAP_MM) & (to_body - back <= SLACK_MM)
    if not facing.any():
        return np.zeros_like(facing)
    touching = spacing[0]  # neighbours along the body
    if np.median(to_body[facing]) - touching < LEAST_STRIP_MM:
        near = (to_body <= UNCLEAR_MM) & (to_disc <= UNCLEAR_MM)
        return np.asarray(near & np.isin(labels, (0, body, disc)))
    straight = np.minimum(forth, back)
    between = (to_body + to_disc <= straight + SLACK_MM) & (straight <= MOST_GAP_MM)
    return np.asarray(between & (labels == 0))


def _distances(mask: Array, spacing: Array) -> tuple[Array, tuple[Array, ...]]:
    """Return each voxel's distance to the mask, mm, and the index of the mask's voxel that is nearest."""
    away, index = ndimage.distance_transform_edt(~mask, spacing, return_indices=True)
    return away, tuple(index)


def _about(labels: Array, values: tuple[int, ...], spacing: Array) -> tuple[slice, ...]:
    """Return the box of these labels with a margin, inside the array."""
    found = np.argwhere(np.isin(labels, values))
    margin = np.ceil(2 * MOST_GAP_MM / spacing).astype(int)
    low = np.maximum(found.min(axis=0) - margin, 0)
    high = found.max(axis=0) + margin + 1
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _near_the_disc(case: Case) -> Array:
    """Return the voxels that lie at most `NEAR_MM` above or below the disc's centre, along its normal."""
    normal = np.asarray(case.level_normal)
    along = case.affine[:3, :3].T @ normal
    start = float((case.affine[:3, 3] - np.asarray(case.level_centre_lps)) @ normal)
    i, j, k = np.ogrid[tuple(slice(n) for n in case.labels.shape)]
    return np.asarray(np.abs(start + i * along[0] + j * along[1] + k * along[2]) <= NEAR_MM)
