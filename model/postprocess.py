"""Post-processing of predicted labels: largest connected components, and the split into left and right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES, Structure, StructureId
from dicomseg.volume import Array, Volume

MAX_COMPONENTS: Final[Mapping[StructureId, int]] = {
    "l4": 1,
    "ivd": 1,
    "l5": 1,
    "dura": 2,
    "n4": 3,
    "aa": 2,
    "pm": 1,
    "ivc": 2,
}
"""Components kept of each structure, of a paired one on each side: two branches below a bifurcation, one muscle,
a root that may be seen in pieces, a sac that a stenosis, or a slab that the spine leaves, cuts in two."""
MIN_SHARE: Final = 0.08
"""A component smaller than this share of the structure's largest one is spurious."""
MAX_PASSES: Final = len(STRUCTURES)
_NEIGHBOURS: Final = np.ones((3, 3, 3), bool)


def _kept(
    components: Array, count: int, structure: Structure, best: Volume, min_share: float
) -> list[int]:
    """Return the numbers of the components to keep."""
    index = np.argwhere(components)
    numbers = components[tuple(index.T)]
    sizes = np.bincount(numbers)
    order = [int(n) for n in np.argsort(-sizes[1:], kind="stable") + 1]
    groups = [order]
    if structure.paired:
        sums = [np.bincount(numbers, axis, count + 1)[1:] for axis in index.T]
        lps = best.to_patient(np.stack(sums, axis=1) / sizes[1:, None])
        start, slope = spine_x(best)
        is_left = lps[:, 0] > start + slope * lps[:, 2]
        groups = [[n for n in order if is_left[n - 1] == side] for side in (True, False)]
    min_size = min_share * sizes[order[0]]
    return [
        n for group in groups for n in group[: MAX_COMPONENTS[structure.id]] if sizes[n] >= min_size
    ]


def spurious_components(
    best: Volume, structure: Structure, min_share: float = MIN_SHARE
) -> tuple[Array, Array] | None:
    """Return masks of the spurious components of one structure and of the kept ones; None without spurious ones.

    best: label values. min_share: smallest size of a component, as a share of the largest one.
    """
    components, count = ndimage.label(best.array == structure.value, structure=_NEIGHBOURS)
    if count < 2:
        return None
    kept = _kept(components, count, structure, best, min_share)
    if len(kept) == count:
        return None
    keep = np.isin(components, kept)
    return (components > 0) & ~keep, keep


def largest_components(scores: Scores) -> Scores:
    """Suppress spurious components in the logits, so that labels and measurements agree.

    A suppressed component belongs to its runner-up, of which it may be a spurious component again: passes repeat
    until nothing changes, `MAX_PASSES` at most.
    """
    logits, best = scores.logits, scores.logits.argmax(0).astype(np.uint8)
    changed = False
    for _ in range(MAX_PASSES):
        clean = True
        for structure in STRUCTURES:
            masks = spurious_components(Volume(best, scores.affine), structure)
            if masks is None:
                continue
            if not changed:
                logits = logits.copy()
            spurious, keep = masks
            grown = ndimage.binary_dilation(spurious, _NEIGHBOURS) & ~keep
            _suppress(logits, structure.value, grown)
            best[grown] = logits[:, grown].argmax(0)
            clean, changed = False, True
        if clean:
            break
    return Scores(logits, scores.affine) if changed else scores


def _suppress(logits: Array, channel: int, where: Array) -> None:
    """Lower one channel to at least 1 below the best other one, in place."""
    values = logits[:, where]
    others = np.delete(values, channel, axis=0).max(0)
    logits[channel, where] = np.minimum(values[channel], others - 1.0)


def spine_x(labels: Volume) -> tuple[float, float]:
    """Return the patient x of the spine's midline as (x mm at z = 0, slope per mm of z), from bodies and disc.

    One centroid per structure; with a single one the slope is 0, with none the volume's centre counts.
    """
    points = []
    names: tuple[StructureId, ...] = ("l4", "ivd", "l5")
    for name in names:
        index = labels.where(BY_ID[name].value)
        if len(index):
            points.append(labels.to_patient(index.mean(axis=0)))
    if not points:
        return float(labels.to_patient((np.array(labels.shape) - 1) / 2)[0]), 0.0
    if len(points) == 1:
        return float(points[0][0]), 0.0
    x, z = np.array(points)[:, 0], np.array(points)[:, 2]
    slope, start = np.polyfit(z, x, 1) if np.ptp(z) > 5.0 else (0.0, float(x.mean()))
    return float(start), float(slope)


def split_sides(labels: Volume) -> Volume:
    """Return segment numbers 1…10 from label values; left is +x of the spine's midline in the patient."""
    start, slope = spine_x(labels)
    out = np.zeros(labels.shape, np.uint8)
    for segment in SEGMENTS:
        index = labels.where(segment.structure.value)
        if len(index) == 0:
            continue
        if segment.side is not None:
            lps = labels.to_patient(index)
            is_left = lps[:, 0] > start + slope * lps[:, 2]
            index = index[is_left if segment.side == "left" else ~is_left]
        out[tuple(index.T)] = segment.number
    return labels.with_array(out)
