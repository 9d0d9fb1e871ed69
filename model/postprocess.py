"""Largest parts and sides: what is kept of the network's answer, and which half is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES, Structure, StructureId
from dicomseg.volume import Array, Volume

KEPT_PARTS: Final[Mapping[StructureId, int]] = {
    "l4": 1,
    "ivd": 1,
    "l5": 1,
    "dura": 2,
    "n4": 3,
    "aa": 2,
    "pm": 1,
    "ivc": 2,
}
"""Most parts of each structure, of a paired one on each side: two limbs below a bifurcation, one muscle,
a root that may be seen in pieces, a sac that a stenosis, or a slab that the spine leaves, cuts in two."""
LEAST_SHARE: Final = 0.08
"""A part smaller than this share of the structure's largest one is a stray."""
MOST_PASSES: Final = len(STRUCTURES)
_NEIGHBOURS: Final = np.ones((3, 3, 3), bool)


def _kept(
    parts: Array, count: int, structure: Structure, best: Volume, least_share: float
) -> list[int]:
    """Numbers of the parts that stay."""
    index = np.argwhere(parts)
    numbers = parts[tuple(index.T)]
    sizes = np.bincount(numbers)
    order = [int(n) for n in np.argsort(-sizes[1:], kind="stable") + 1]
    groups = [order]
    if structure.paired:
        sums = [np.bincount(numbers, axis, count + 1)[1:] for axis in index.T]
        lps = best.to_patient(np.stack(sums, axis=1) / sizes[1:, None])
        start, slope = spine_x(best)
        is_left = lps[:, 0] > start + slope * lps[:, 2]
        groups = [[n for n in order if is_left[n - 1] == side] for side in (True, False)]
    least = least_share * sizes[order[0]]
    return [n for group in groups for n in group[: KEPT_PARTS[structure.id]] if sizes[n] >= least]


def strays(
    best: Volume, structure: Structure, least_share: float = LEAST_SHARE
) -> tuple[Array, Array] | None:
    """Masks of the stray parts of one structure and of the kept ones; None without strays.

    least_share: of the largest part, what another one has to have.
    """
    parts, count = ndimage.label(best.array == structure.value, structure=_NEIGHBOURS)
    if count < 2:
        return None
    kept = _kept(parts, count, structure, best, least_share)
    if len(kept) == count:
        return None
    keep = np.isin(parts, kept)
    return (parts > 0) & ~keep, keep


def keep_parts(scores: Scores) -> Scores:
    """Silence stray parts in the logits, so that labels and measurements agree on what is there.

    A silenced part belongs to its runner-up, of which it may be a stray part again: passes repeat
    until nothing changes, `MOST_PASSES` at most.
    """
    logits, best = scores.logits, scores.logits.argmax(0).astype(np.uint8)
    changed = False
    for _ in range(MOST_PASSES):
        clean = True
        for structure in STRUCTURES:
            found = strays(Volume(best, scores.affine), structure)
            if found is None:
                continue
            if not changed:
                logits = logits.copy()
            stray, keep = found
            grown = ndimage.binary_dilation(stray, _NEIGHBOURS) & ~keep
            _silence(logits, structure.value, grown)
            best[grown] = logits[:, grown].argmax(0)
            clean, changed = False, True
        if clean:
            break
    return Scores(logits, scores.affine) if changed else scores


def _silence(logits: Array, channel: int, where: Array) -> None:
    """Let one channel lie at least 1 behind the best other one, in place."""
    here = logits[:, where]
    others = np.delete(here, channel, axis=0).max(0)
    logits[channel, where] = np.minimum(here[channel], others - 1.0)


def spine_x(labels: Volume) -> tuple[float, float]:
    """Patient x of the spine's midline as (x at z = 0, slope per mm of z), from the bodies and the disc.

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
    """Segment numbers 1…10 from label values; left is +x of the spine's midline in the patient."""
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
