"""Full-resolution refinement of the L4 nerve roots.

A root is six voxels wide and recognised by its surroundings. The segmentation network predicts at half resolution,
where three voxels are left; in a box about the disc a small U-Net sees the image itself and that network's
probabilities, and decides root or not (ADR 0014).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import softmax

from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID
from dicomseg.volume import Array, Points, Volume
from model import postprocess
from model.errors import EngineFailed
from model.grid import SPACING_MM
from model.networks.coordinates import coordinate_channels
from model.networks.sizes import ROOTS_MULTIPLE, RootsArchitecture
from model.patch import Patch

ROOTS: Final = BY_ID["n4"].value
"""Channel of the L4 roots."""
BOX: Final = ((-37, 96), (-2, 48), (-64, 128))
"""Box that is refined, in voxels from the middle of the disc along slices (to the head), rows (to the back) and columns
(to the left): start and length. The roots of 164 phantoms lie within -34…55, 3…38 and -60…61.
"""
DISC: Final = BY_ID["ivd"].value
MIN_DISC_VOXELS: Final = 200
"""Voxels of the half grid; with fewer the box is centred on the level instead of the disc."""
MIN_SHARE: Final = 0.2
"""Share of the largest part: at full resolution a root is one piece, seldom two. Smaller parts are other roots and
lobules of fat: without them Dice on 20 phantoms (9000 to 9019) was 0.674, with those from 0.08 on 0.662."""
MAX_LOGIT: Final = 20.0
"""Logits are clipped to ± this; outside the box the logit is −`MAX_LOGIT`: not a root."""


def box_about(shape: tuple[int, ...], middle: Array, margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the index box about the disc's middle in an image of this shape; even starts, sizes multiples of 8.

    middle: index of the image. margin: further voxels on each side. A side shorter than 8 voxels stays empty.
    """
    out = []
    for size, centre, (low, length) in zip(shape, middle, BOX, strict=True):
        begin = round(float(centre)) + low
        start = int(np.clip(begin - margin, 0, size)) // 2 * 2
        stop = int(np.clip(begin + length + margin, 0, size))
        wanted = -(-(stop - start) // ROOTS_MULTIPLE) * ROOTS_MULTIPLE
        available = (size - start) // ROOTS_MULTIPLE * ROOTS_MULTIPLE
        out.append(slice(start, start + min(wanted, available)))
    i, j, k = out
    return i, j, k


def guidance_channels(
    architecture: RootsArchitecture, probabilities: Array, middle: Points
) -> Array:
    """Return the network's guidance of a box at half resolution: (9 or 12, d/2, h/2, w/2) float32.

    probabilities: the segmentation network's, (9, d/2, h/2, w/2). middle: of the disc, an index of the box.
    """
    channels = np.ascontiguousarray(probabilities, np.float32)
    if not architecture.places:
        return channels
    shape = [2 * n for n in channels.shape[1:]]
    coordinates = coordinate_channels(shape, middle.tolist(), SPACING_MM, stride=2)
    return np.concatenate([channels, coordinates])


def disc_middle(logits: Array, level: Points) -> Points:
    """Return the middle of the segmented L4/5 disc as an index of the image; `level` without a disc.

    logits: the segmentation network's, (9, d/2, h/2, w/2). A finder may be 8 mm off, the segmented disc is not.
    """
    disc = np.argwhere(logits.argmax(0) == DISC)
    return level if len(disc) < MIN_DISC_VOXELS else disc.mean(0) * 2 + 0.5


InferRoots = Callable[[Array, Array], Array]
"""Image (1, 1, D, H, W) and guidance (1, 9 or 12, D/2, H/2, W/2), float32, to logits (1, 1, D, H, W)."""


class RootsRefiner:
    """The roots network ready to run: the box that it sees and the clean-up of its logits."""

    def __init__(
        self,
        infer: InferRoots,
        architecture: RootsArchitecture,
        warm: Callable[[tuple[int, ...]], None] = lambda _: None,
    ) -> None:
        self._infer, self._architecture, self._warm = infer, architecture, warm

    def warm(self) -> None:
        """Prepare for a complete box, so that the first patch does not wait for it."""
        self._warm(tuple(length for _, length in BOX))

    def logits(self, patch: Patch, logits: Array) -> Array:
        """Return the logit of "L4 root" of every voxel of the patch (d, h, w) float32, `-MAX_LOGIT` outside the box.

        logits: the segmentation network's, (9, d/2, h/2, w/2).

        Raises:
            EngineFailed: values that are not finite.
        """
        shape = patch.values.shape
        level = (np.array(shape) - 1) / 2 if patch.centre is None else np.array(patch.centre)
        middle = disc_middle(logits, level)
        box = box_about(shape, middle)
        out = np.full(shape, -MAX_LOGIT, np.float32)
        if 0 in out[box].shape:
            return out
        half = tuple(slice(s.start // 2, s.stop // 2) for s in box)
        probabilities = softmax(logits[(slice(None), *half)], axis=0)
        guidance = guidance_channels(
            self._architecture, probabilities, middle - [s.start for s in box]
        )
        image = np.ascontiguousarray(patch.values[box], np.float32)
        raw = self._infer(image[None, None], guidance[None])[0, 0]
        if not np.isfinite(raw).all():
            raise EngineFailed("the roots network met values that are not finite; check the bundle")
        logit = np.where(patch.valid[box], np.clip(raw, -MAX_LOGIT, MAX_LOGIT), -MAX_LOGIT)
        affine = patch.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        out[box] = _without_spurious(logit, affine)
        return out


def _without_spurious(logit: Array, affine: Points) -> Array:
    """Suppress components that are not roots by their size or number, as `largest_components` does for the rest."""
    roots = Volume(np.where(logit > 0, ROOTS, 0).astype(np.uint8), affine)
    masks = postprocess.spurious_components(roots, BY_ID["n4"], MIN_SHARE)
    return logit if masks is None else np.where(masks[0], np.minimum(logit, -1.0), logit)


def scores_with_roots(patch: Patch, logits: Array, roots: Array) -> Scores:
    """Return the network's scores with the L4 roots replaced by the mean of their fine logit over 2³ voxels.

    logits: the segmentation network's, (9, d/2, h/2, w/2). roots: of `RootsRefiner.logits`, (d, h, w). A root leads,
    or trails, the best other structure by its own logit.
    """
    pooled = np.zeros(logits.shape[1:], np.float32)
    for i, j, k in itertools.product((0, 1), repeat=3):
        pooled += roots[i::2, j::2, k::2] / 8
    merged = logits.copy()
    merged[ROOTS] = np.delete(logits, ROOTS, axis=0).max(0) + pooled
    return patch.scores(merged)
