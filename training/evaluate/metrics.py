"""Agreement of two masks of one structure: Dice, precision, recall, and distances of their surfaces in mm.

A surface is the set of voxels of a mask that have a face towards its outside; the edge of the array
counts as outside. Distances run between voxel centres, by the exact Euclidean distance transform with
the grid's spacing, from each surface to the other and both ways together: HD95 is the larger of the two
95th percentiles, the average symmetric surface distance the mean over both surfaces' voxels (as in
MONAI's and DeepMind's `surface-distance`, the latter with voxels instead of surface elements).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from dicomseg.volume import Array

State = Literal["scored", "missed", "invented"]
"""missed: in the reference only. invented: in the prediction only (false positive)."""
_FACES: Final = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True, slots=True)
class Score:
    """One structure of one case.

    Rules: missed → Dice, precision and recall 0, no distances. invented → Dice and precision 0, no
    recall, no distances. In neither mask → no `Score` at all, the case does not count for the structure.
    hd95_mm, assd_mm: 95th percentile and mean of the distance between the surfaces, mm.
    """

    state: State
    dice: float
    precision: float
    recall: float | None
    hd95_mm: float | None = None
    assd_mm: float | None = None


MISSED: Final = Score("missed", 0.0, 0.0, 0.0)


def dice(a: Array, b: Array) -> float:
    """Return the Dice of two boolean arrays; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def surface(mask: Array) -> Array:
    """Return the voxels of a 3-D mask with a face towards its outside, bool."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, _FACES, border_value=0))


def surface_distances(
    predicted: Array, truth: Array, spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """Return HD95 and average symmetric surface distance in mm of two masks that are not empty.

    Raises:
        ValueError: one of the masks is empty.
    """
    if not predicted.any() or not truth.any():
        raise ValueError("a surface distance needs two masks that are not empty")
    ours, theirs = surface(predicted), surface(truth)
    to_truth = ndimage.distance_transform_edt(~theirs, spacing_mm)[ours]
    to_predicted = ndimage.distance_transform_edt(~ours, spacing_mm)[theirs]
    hd95 = max(float(np.percentile(to_truth, 95)), float(np.percentile(to_predicted, 95)))
    total = float(to_truth.sum()) + float(to_predicted.sum())
    return hd95, total / (len(to_truth) + len(to_predicted))


def score(predicted: Array, truth: Array, spacing_mm: Sequence[float]) -> Score | None:
    """Compare two 3-D masks on one grid; None where both are empty.

    Distances are computed inside the box that holds both masks, which changes none of them.
    """
    union = predicted | truth
    if not union.any():
        return None
    if not truth.any():
        return Score("invented", 0.0, 0.0, None)
    if not predicted.any():
        return MISSED
    box = ndimage.find_objects(union.astype(np.uint8))[0]
    predicted, truth = predicted[box], truth[box]
    shared = int((predicted & truth).sum())
    distances = surface_distances(predicted, truth, spacing_mm)
    return Score(
        "scored",
        dice(predicted, truth),
        shared / int(predicted.sum()),
        shared / int(truth.sum()),
        *distances,
    )
