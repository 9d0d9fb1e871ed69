"""Rules that a labelled image obeys whatever its source; a broken rule is an `ImportRefused` that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import SimpleITK

from dicomseg.read.lattice import MIN_EXTENT_MM
from dicomseg.structures import BY_ID, Side, StructureId
from dicomseg.volume import Array, Points
from training.data.prepare import centroid
from training.errors import ImportRefused

MAX_EXTENT_MM: Final = 700.0
"""Longer than any series of the lumbar spine."""


def check_voxels(image: SimpleITK.Image) -> None:
    """Refuse NaN, infinite and constant images."""
    array = SimpleITK.GetArrayViewFromImage(image)
    bad = int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    if bad:
        raise ImportRefused(f"rule finite: {bad} of {array.size} voxels are NaN or infinite")
    if array.min() == array.max():
        raise ImportRefused(f"rule not-constant: all {array.size} voxels are {array.min():g}")


def check_extent(image: SimpleITK.Image) -> None:
    """Refuse a volume that no patient fills: a hostile header must not demand all memory."""
    sizes = image.GetSize(), image.GetSpacing()  # type: ignore[no-untyped-call]
    extent = [n * mm for n, mm in zip(*sizes, strict=True)]
    if not all(MIN_EXTENT_MM <= mm <= MAX_EXTENT_MM for mm in extent):
        shown = " × ".join(f"{mm:.0f}" for mm in extent)
        raise ImportRefused(
            f"rule large-enough: the volume is {shown} mm; each has to be {MIN_EXTENT_MM:g} to"
            f" {MAX_EXTENT_MM:g} mm"
        )


def check_anatomy(
    labels: Array, sides: Mapping[tuple[StructureId, Side], float], affine: Points
) -> None:
    """Refuse a mirrored or upside-down geometry, and labels without the disc."""
    if not (labels == BY_ID["ivd"].value).any():
        raise ImportRefused(
            "rule level: the L4/5 disc (ivd) has no voxels; it is needed to place the window"
        )
    for structure, side in sides:
        left, right = sides.get((structure, "left")), sides.get((structure, "right"))
        if side == "left" and left is not None and right is not None and left <= right:
            raise ImportRefused(
                f"rule sides: {structure}.left lies at x = {left:.1f} mm, right of {structure}.right at"
                f" {right:.1f} mm (LPS); the geometry or the labels are mirrored"
            )
    l4, l5 = (labels == BY_ID["l4"].value, labels == BY_ID["l5"].value)
    if l4.any() and l5.any() and centroid(l4, affine)[2] <= centroid(l5, affine)[2]:
        raise ImportRefused("rule order: L4 lies below L5; geometry or table are upside down")
