"""What two series of one person have in common whatever their ids: a small picture of image and labels, and its comparison.

The picture is on every case's card, so that cases are compared without their arrays. It says no more than these do.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dicomseg.structures import STRUCTURES
from dicomseg.volume import Array, Points

GRID_MM: Final = 4.0
POINTS: Final = (24, 20, 4)
"""Points to the head, to the back, to the left about the L4/5 disc: both bodies, the disc, the canal, in any slab."""
MEANS: Final = (16, 16, 4)
"""Boxes of equal size in which the mean grey of the complete image is taken."""
SAME_LABELS: Final = 0.93
"""Mean Dice of labels of one person. Of 378 pairs of SPIDER's 28 persons the most alike have 0.88."""
SAME_DISC: Final = 0.98
"""The same where only one structure can be compared: discs of two persons are more alike than their vertebrae."""
LEAST_POINTS: Final = 20
"""A structure with fewer points is not compared."""
SAME_IMAGE: Final = 0.995
"""Correlation of the means of one image, whose intensities may differ in scale. The same persons: at most 0.88."""
SAME_EXTENT: Final = 0.01
"""Relative difference of an extent that resampling leaves."""
_UNKNOWN: Final = 255


def picture(image: Array, labels: Array, affine: Points, centre: Sequence[float]) -> dict[str, Any]:
    """Return the picture of a case as JSON holds it. Arrays are (i, j, k), centre is that of the L4/5 disc, LPS mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * GRID_MM for n in POINTS]
    zyx = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inverse = np.linalg.inv(affine)
    index = (zyx[..., ::-1] + np.asarray(centre)) @ inverse[:3, :3].T + inverse[:3, 3]
    rounded = np.rint(index).astype(int)
    inside = ((rounded >= 0) & (rounded < labels.shape)).all(axis=-1)
    at = tuple(np.moveaxis(np.clip(rounded, 0, np.array(labels.shape) - 1), -1, 0))
    extent = np.linalg.norm(affine[:3, :3], axis=0) * image.shape
    return {
        "labels": _packed(np.where(inside, labels[at], _UNKNOWN).astype(np.uint8)),
        "image": _packed(_means(image)),
        "extent_mm": [round(float(mm), 1) for mm in extent],
    }


def _means(image: Array) -> Array:
    """Return the mean grey of boxes, from the least to the highest one as 0…255; what is not finite counts as 0."""
    means = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    for axis, count in enumerate(MEANS):
        length = means.shape[axis]
        starts = np.minimum(np.arange(count) * length // count, length - 1)
        sizes = np.maximum(np.diff(np.append(starts, length)), 1)
        sums = np.add.reduceat(means, starts, axis=axis)
        means = sums / sizes.reshape([-1 if a == axis else 1 for a in range(3)])
    low, high = float(means.min()), float(means.max())
    return np.rint((means - low) / max(high - low, 1e-6) * 255).astype(np.uint8)


def _packed(array: Array) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, count: int) -> Array:
    array = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    if array.size != count:
        raise ValueError("a picture of another size")
    return array


def alike(pictures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the pairs that are of one person by their pictures, by name, each with the reason.

    pictures: by name, as `picture` returns them; one that is damaged is not compared.
    """
    names, labels, images, extents = [], [], [], []
    for name, shown in pictures.items():
        try:
            both = _unpacked(shown["labels"], int(np.prod(POINTS))), _unpacked(shown["image"], int(np.prod(MEANS)))  # fmt: skip
            extent = np.asarray(shown["extent_mm"], float).reshape(3)
        except (LookupError, TypeError, ValueError, zlib.error):
            continue
        names.append(name)
        labels.append(both[0])
        images.append(both[1])
        extents.append(extent)
    if len(names) < 2:
        return []
    dice = _dice(np.stack(labels))
    same = _correlation(np.stack(images)) >= SAME_IMAGE
    sizes = np.stack(extents)
    same &= np.isclose(sizes[:, None], sizes[None], rtol=SAME_EXTENT).all(axis=-1)
    return [
        (
            names[a],
            names[b],
            "equal images" if same[a, b] else f"labels agree, Dice {dice[a, b]:.2f}",
        )
        for a, b in np.argwhere(np.triu(same | (dice > 0), 1)).tolist()
    ]


def _dice(labels: Array) -> Array:
    """Return the mean Dice of each pair (n, n), 0 where it is not that of one person."""
    known = (labels != _UNKNOWN).astype(np.float32)
    total, count = np.zeros((2, len(labels), len(labels)), np.float32)
    for structure in STRUCTURES:
        mask = (labels == structure.value).astype(np.float32)
        both, own = (
            mask @ mask.T,
            mask @ known.T,
        )  # points of both; of the first where the second is known
        compared = np.minimum(own, own.T) >= LEAST_POINTS
        total += np.where(compared, 2 * both / np.maximum(own + own.T, 1), 0)
        count += compared
    mean = total / np.maximum(count, 1)
    return np.where(mean >= np.where(count > 1, SAME_LABELS, SAME_DISC), mean, 0)


def _correlation(images: Array) -> Array:
    centred = images.astype(np.float32) - images.mean(axis=1, keepdims=True, dtype=np.float32)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return np.asarray(unit @ unit.T)
