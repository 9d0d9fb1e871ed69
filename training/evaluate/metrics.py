"""How two masks of one structure agree: Dice, precision, recall, and distances of their surfaces in mm.

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
"""missed: in the reference only. invented: in the answer only."""
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
    """Dice of two boolean arrays; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def surface(mask: Array) -> Array:
    """Voxels of a 3-D mask with a face towards its outside, bool."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, _FACES, border_value=0))


def surface_distances(
    found: Array, truth: Array, spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """HD95 and average symmetric surface distance in mm of two masks that are not empty.

    Raises:
        ValueError: one of the masks is empty.
    """
    if not found.any() or not truth.any():
        raise ValueError("a surface distance needs two masks that are not empty")
    one, other = surface(found), surface(truth)
    to_truth = ndimage.distance_transform_edt(~other, spacing_mm)[one]
    to_found = ndimage.distance_transform_edt(~one, spacing_mm)[other]
    hd95 = max(float(np.percentile(to_truth, 95)), float(np.percentile(to_found, 95)))
    total = float(to_truth.sum()) + float(to_found.sum())
    return hd95, total / (len(to_truth) + len(to_found))


def score(found: Array, truth: Array, spacing_mm: Sequence[float]) -> Score | None:
    """Compare two 3-D masks on one grid; None where both are empty.

    Distances are worked out inside the box that holds both masks, which changes none of them.
    """
    both = found | truth
    if not both.any():
        return None
    if not truth.any():
        return Score("invented", 0.0, 0.0, None)
    if not found.any():
        return MISSED
    box = ndimage.find_objects(both.astype(np.uint8))[0]
    found, truth = found[box], truth[box]
    shared = int((found & truth).sum())
    distances = surface_distances(found, truth, spacing_mm)
    return Score(
        "scored",
        dice(found, truth),
        shared / int(found.sum()),
        shared / int(truth.sum()),
        *distances,
    )
