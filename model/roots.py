"""The L4 roots once more, at full resolution, in a box about the level.

A root is six voxels wide and its place told by what lies about it. The segmentation network answers at half
resolution, where three voxels are left; here a small U-Net looks at the image itself, with that network's
probabilities beside it, and answers root or not (ADR 0014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID, CHANNELS
from dicomseg.volume import Array, Points, Volume
from model import postprocess
from model.errors import EngineFailed
from model.networks.deeplab import places
from model.window import SPACING_MM, Patch, scores_of

NAME: Final = "roots-unet"
ROOTS: Final = BY_ID["n4"].value
BOX: Final = ((-37, 96), (-2, 48), (-64, 128))
"""What is looked at, in voxels from the middle of the disc along slices (to the head), rows (to the back) and columns
(to the left): where it begins and how much it is. The roots of 164 phantoms lie within -34…55, 3…38 and -60…61.
"""
DISC: Final = BY_ID["ivd"].value
LEAST_DISC: Final = 200
"""Voxels of the half grid; with fewer there is no disc to go by, and the level found counts."""
MULTIPLE: Final = 8
"""The network halves its grid three times."""
LEAST_SHARE: Final = 0.2
"""Share of the largest part: at full resolution a root is one piece, seldom two. Smaller parts are other roots and
lobules of fat: without them Dice on 20 phantoms (9000 to 9019) was 0.674, with those from 0.08 on 0.662."""
MOST_LOGIT: Final = 20.0
"""Beyond it nothing is surer; it is also what lies outside the box: no root."""


@dataclass(frozen=True, slots=True)
class RootsArchitecture:
    """Sizes of the network; written into the bundle's card.

    width: channels at full resolution. places: it is told where each voxel lies from the middle of the disc.
    """

    width: int = 8
    deep: tuple[int, int, int] = (24, 48, 64)
    places: bool = False

    @property
    def told(self) -> int:
        """Channels given at half resolution: the probabilities and, with `places`, three distances."""
        return CHANNELS + 3 * self.places

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `card.json`."""
        return {"name": NAME, **asdict(self), "deep": list(self.deep)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RootsArchitecture:
        """Inverse of `to_dict`; an unknown key raises TypeError, another architecture ValueError."""
        if values.get("name", NAME) != NAME:
            raise ValueError(f"architecture {values['name']!r} is not {NAME!r}")
        fields = {k: v for k, v in values.items() if k != "name"}
        return cls(**{**fields, "deep": tuple(fields["deep"])})


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv3d(i, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs, momentum=None),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class RootsNet(nn.Module):
    """Image (N, 1, D, H, W) and what `told_of` makes (N, 9 or 12, D/2, H/2, W/2) to one logit per voxel.

    Every size a multiple of 8. The statistics of its norms are fixed once trained, so that a box cut short by the
    image's border is answered as a whole one.
    """

    def __init__(self, architecture: RootsArchitecture) -> None:
        super().__init__()
        a, (b, c, d) = architecture.width, architecture.deep
        self.architecture = architecture
        self.enter, self.mid = _double(1, a), _double(a + architecture.told, b)
        self.deep, self.deepest = _double(b, c), _double(c, d)
        self.to_deep, self.to_mid = nn.Conv3d(d, c, 1), nn.Conv3d(c, b, 1)
        self.to_enter = nn.Conv3d(b, a, 1)
        self.up_deep, self.up_mid, self.up_enter = _double(c, c), _double(b, b), _double(a, a)
        self.head = nn.Conv3d(a, 1, 1)

    def forward(self, image: Tensor, told: Tensor) -> Tensor:
        """Return the logit of "L4 root"."""
        a = self.enter(image)
        b = self.mid(torch.cat([functional.max_pool3d(a, 2), told], 1))
        c = self.deep(functional.max_pool3d(b, 2))
        x = self.deepest(functional.max_pool3d(c, 2))
        x = self.up_deep(c + functional.interpolate(self.to_deep(x), scale_factor=2.0))
        x = self.up_mid(b + functional.interpolate(self.to_mid(x), scale_factor=2.0))
        x = self.up_enter(a + functional.interpolate(self.to_enter(x), scale_factor=2.0))
        logit: Tensor = self.head(x)
        return logit


def box_about(shape: tuple[int, ...], middle: Array, margin: int = 0) -> tuple[slice, slice, slice]:
    """Index box about the disc's middle inside an image of this shape; begins at even voxels, sizes multiples of 8.

    margin: voxels more on each side. A side shorter than 8 voxels stays empty.
    """
    out = []
    for size, centre, (low, length) in zip(shape, middle, BOX, strict=True):
        first, last = (
            round(float(centre)) + low - margin,
            round(float(centre)) + low + length + margin,
        )
        start, stop = int(np.clip(first, 0, size)) // 2 * 2, int(np.clip(last, 0, size))
        whole = -(-(stop - start) // MULTIPLE) * MULTIPLE
        out.append(slice(start, start + min(whole, (size - start) // MULTIPLE * MULTIPLE)))
    i, j, k = out
    return i, j, k


def told_of(architecture: RootsArchitecture, probabilities: Array, middle: Points) -> Array:
    """What the network is told of a box at half resolution: (9 or 12, d/2, h/2, w/2) float32.

    probabilities: the segmentation network's, (9, d/2, h/2, w/2). middle: of the disc, an index of the box.
    """
    told = np.ascontiguousarray(probabilities, np.float32)
    if not architecture.places:
        return told
    shape = [2 * n for n in told.shape[1:]]
    there = places(shape, middle.tolist(), SPACING_MM, stride=2).numpy()
    return np.concatenate([told, there])


def middle_of(logits: Array, level: Points) -> Points:
    """Middle of the L4/5 disc that the segmentation network drew, as an index of the image; `level` without one.

    A finder may be 8 mm off, the disc once drawn is not.
    """
    disc = np.argwhere(logits.argmax(0) == DISC)
    return level if len(disc) < LEAST_DISC else disc.mean(0) * 2 + 0.5


Answer = Callable[[Array, Array], Array]
"""Image (1, 1, D, H, W) and what is told (1, 9 or 12, D/2, H/2, W/2), float32, to logits (1, 1, D, H, W)."""


class RootsFinder:
    """The roots network ready to run: where it looks and what becomes of its answer."""

    def __init__(
        self,
        answer: Answer,
        architecture: RootsArchitecture,
        warm: Callable[[tuple[int, ...]], None] = lambda _: None,
    ) -> None:
        self._answer, self._architecture, self._warm = answer, architecture, warm

    def warm(self) -> None:
        """Get ready for a whole box, so that the first one does not wait for it."""
        self._warm(tuple(length for _, length in BOX))

    def logits(self, patch: Patch, logits: Array) -> Array:
        """Logit of "L4 root" of every voxel of the patch (d, h, w) float32, `-MOST_LOGIT` outside the box.

        logits: the segmentation network's, (9, d/2, h/2, w/2).

        Raises:
            EngineFailed: the answer is not finite.
        """
        shape = patch.values.shape
        level = (np.array(shape) - 1) / 2 if patch.centre is None else np.array(patch.centre)
        middle = middle_of(logits, level)
        box = box_about(shape, middle)
        out = np.full(shape, -MOST_LOGIT, np.float32)
        if 0 in out[box].shape:
            return out
        half = tuple(slice(s.start // 2, s.stop // 2) for s in box)
        probabilities = softmax(logits[(slice(None), *half)], axis=0)
        told = told_of(self._architecture, probabilities, middle - [s.start for s in box])
        image = np.ascontiguousarray(patch.values[box], np.float32)
        answer = self._answer(image[None, None], told[None])[0, 0]
        if not np.isfinite(answer).all():
            raise EngineFailed("the roots network met values that are not finite; check the bundle")
        found = np.where(patch.valid[box], np.clip(answer, -MOST_LOGIT, MOST_LOGIT), -MOST_LOGIT)
        affine = patch.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        out[box] = _without_strays(found, affine)
        return out


def _without_strays(logit: Array, affine: Points) -> Array:
    """Silence what is no root by its size or number, as `postprocess.keep_parts` does with the other structures."""
    found = Volume(np.where(logit > 0, ROOTS, 0).astype(np.uint8), affine)
    parts = postprocess.strays(found, BY_ID["n4"], LEAST_SHARE)
    return logit if parts is None else np.where(parts[0], np.minimum(logit, -1.0), logit)


def scores_with(patch: Patch, logits: Array, roots: Array) -> Scores:
    """The network's scores, their L4 roots replaced by what `RootsFinder.logits` says on average over 2³ voxels.

    A root is as far ahead of, or behind, the best other structure as its own logit tells.
    """
    pooled = functional.avg_pool3d(torch.from_numpy(roots)[None, None], 2)[0, 0].numpy()
    told = logits.copy()
    told[ROOTS] = np.delete(logits, ROOTS, axis=0).max(0) + pooled
    return scores_of(patch, told)


def load_roots(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RootsNet:
    """Build the network from a bundle's card and weights; raises RuntimeError, TypeError or ValueError on a misfit."""
    network = RootsNet(RootsArchitecture.from_dict(dict(architecture)))
    network.load_state_dict(dict(tensors))
    return network.eval()
