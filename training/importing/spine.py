"""Labels of the complete spine on the case's grid, and vertebrae without their arches: pure functions of arrays.

Axes are those of a case: (slices to the head, rows to the back, columns to the left). Values are those of `Case.spine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import SimpleITK
from scipy import ndimage

from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points
from training.data.cases import BODY_NAMES, DISC_NAMES, IGNORED, Point
from training.data.prepare import centroid, resample
from training.errors import ImportRefused
from training.importing.label_table import Target

CANAL: Final = 100
BODIES: Final = tuple(range(1, len(BODY_NAMES) + 1))
_LEVELS: Final[dict[StructureId, int]] = {"l5": 1, "l4": 2, "dura": CANAL}
MOST_BEHIND: Final = 0.1
"""A larger share of the bodies beside and behind the canal is arches; cutting plain bodies takes 3 % at most."""
_FRONT: Final = 10.0
"""Percentile of the canal's first rows in a slice, over its columns, that counts as its front: not one stray voxel."""
_SMOOTH: Final = 7
"""Slices over which the front is smoothed by their median: readers draw one sagittal slice after the other."""


def spine_labels(
    masks: Sequence[tuple[Target, SimpleITK.Image]], grid: SimpleITK.Image
) -> Array | None:
    """Return the labels of the complete spine, uint8 (i, j, k); None where none but our structures are labelled.

    As for other labels the strongest mask wins. One mask at a time is in memory.
    """
    if not any(target.spine and target.further for target, _ in masks):
        return None
    shape = tuple(grid.GetSize()[::-1])  # type: ignore[no-untyped-call]
    labels, best, total = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape)
    for target, mask in masks:
        if not target.spine:
            continue
        soft = resample(mask, grid)
        stronger = soft > best
        labels[stronger] = target.spine
        np.copyto(best, soft, where=stronger)
        total += soft
    labels[best <= 1.0 - total] = 0
    return labels


def write_ignored(
    masks: Sequence[tuple[Target, SimpleITK.Image]],
    grid: SimpleITK.Image,
    labels: Array,
    spine: Array | None,
) -> None:
    """Write `IGNORED` into labels and spine, in place, where a mask says that nothing is known."""
    for target, mask in masks:
        if target.further == IGNORED:
            labels[resample(mask, grid) >= 0.5] = IGNORED
    if spine is not None:
        spine[labels == IGNORED] = IGNORED


def disc_centres(spine: Array, affine: Points) -> dict[str, Point]:
    """Return the centre of every labelled disc, LPS mm by name."""
    present = set(np.unique(spine).tolist())
    return {
        name: centroid(spine == value, affine)
        for value, name in enumerate(DISC_NAMES, start=201)
        if value in present
    }


def arches_of(spine: Array) -> Array:
    """Return the voxels of vertebrae that do not belong to their bodies, bool (i, j, k).

    A body lies in front of the spinal canal: what a vertebra has beside the canal and behind its front, slice by slice, is
    pedicles, laminae and processes. So is what the cut parts from the body. Where the canal ends, its front continues
    straight up and down.

    Raises:
        ImportRefused: no canal is drawn.
    """
    canal = spine == CANAL
    slices = np.flatnonzero(canal.any(axis=(1, 2)))
    if not len(slices):
        raise ImportRefused(
            "rule arches: no spinal canal is drawn, so the arches of the vertebrae cannot be distinguished from the bodies;"
            " label the canal, or give bodies without arches"
        )
    first = [np.percentile(canal[i].argmax(axis=0)[canal[i].any(axis=0)], _FRONT) for i in slices]
    smooth = ndimage.median_filter(np.asarray(first, float), _SMOOTH, mode="nearest")
    front = np.interp(np.arange(len(spine)), slices, smooth)
    ahead = np.arange(spine.shape[1])[None, :, None] < front[:, None, None]
    out = np.zeros(spine.shape, bool)
    for value in BODIES:
        vertebra = spine == value
        if vertebra.any():
            out |= vertebra & ~_largest(vertebra & ahead)
    return out


def treat_arches(labels: Array, spine: Array | None, *, cut: bool) -> tuple[str, ...]:
    """Cut arches off the labels and the complete spine, in place, or find them; returns a sentence where there are any.

    labels: values of our structures, uint8 (i, j, k). spine: None where only our structures are labelled.

    Raises:
        ImportRefused: arches that cannot be cut off.
    """
    levels = np.zeros(256, np.uint8)
    for name, value in _LEVELS.items():
        levels[BY_ID[name].value] = value
    ours = levels[labels]
    if not cut and not (ours == CANAL).any():
        return ()
    arches = arches_of(ours if spine is None else spine)
    bodies = np.isin(labels, [BY_ID[name].value for name in ("l4", "l5")])
    share = float((arches & bodies).sum() / max(int(bodies.sum()), 1))
    if not cut:
        if share <= MOST_BEHIND:
            return ()
        return (
            f"{share:.0%} of l4 and l5 lie beside and behind the canal: they include arches; --cut-arches cuts them off",
        )
    labels[arches & bodies] = 0
    if spine is not None:
        spine[arches] = 0
    return (f"arches are cut off, {share:.0%} of l4 and l5: bodies end at the canal's front",)


def _largest(mask: Array) -> Array:
    """Return the largest part that hangs together."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    return np.asarray(parts == 1 + int(sizes[1:].argmax()))
