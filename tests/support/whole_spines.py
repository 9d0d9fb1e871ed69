"""A made-up lumbar spine with its arches, numbered as SPIDER numbers: vertebrae 1, 2, … from below, discs 201, …, canal 100."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from dicomseg.structures import BY_ID
from tests.support.labelled_volumes import filled, points_of
from training.data.cases import Case

STEP_MM = 34.0
"""From one vertebra to the next."""
BODY_HALF = (21.0, 15.0, 12.0)
DISC_HALF_MM = 5.0
FIRST_MM = -60.0
"""Middle of the lowest body, LPS z."""
BODIES = 5


def front_mm(z: Any) -> Any:
    """Middle of the bodies at a height, LPS y: a lordosis, whose lower end turns to the back."""
    return 0.004 * (np.asarray(z) - 30.0) ** 2


def sagittal_grid() -> SimpleITK.Image:
    """Sagittal slices of 4 mm: rows to the feet, columns to the back, slices to the left."""
    made = SimpleITK.Image([84, 150, 17], SimpleITK.sitkInt16)
    made.SetSpacing((1.5, 1.5, 4.0))
    made.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    made.SetOrigin((-32.0, -30.0, 115.0))
    return made


def painted_spine(
    *, arches: bool = True, partly: int = 0, seed: int = 1
) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """An image and its mask. partly: the number of a vertebra that is written as one in view in part."""
    empty = sagittal_grid()
    points = points_of(empty)
    x, y, z = (points[..., axis] for axis in range(3))
    y = y - front_mm(z)
    labels = np.zeros(x.shape, np.int16)
    wide, deep, high = BODY_HALF
    labels[(np.abs(x) < 10) & (y >= deep + 1) & (y < deep + 15)] = 100
    for n in range(1, BODIES + 1):
        up = z - (FIRST_MM + STEP_MM * (n - 1))
        body = (np.abs(x) < wide) & (np.abs(y) < deep) & (np.abs(up) < high)
        pedicle = (
            (np.abs(np.abs(x) - 15) < 5) & (y >= deep) & (y < deep + 15) & (np.abs(up - 4) < 6)
        )
        lamina = (np.abs(x) < 20) & (y >= deep + 15) & (y < deep + 21) & (np.abs(up) < 9)
        process = (np.abs(x) < 4) & (y >= deep + 21) & (y < deep + 36) & (np.abs(up + 4) < 7)
        value = n + 100 if n == partly else n
        labels[body | ((pedicle | lamina | process) & arches)] = value
        below = up + STEP_MM / 2
        labels[(np.abs(x) < wide) & (np.abs(y) < deep) & (np.abs(below) < DISC_HALF_MM)] = 200 + n
    grey = np.select([labels == 0, labels == 100, labels > 200], [200, 400, 60], 150)
    noise = np.random.default_rng(seed).normal(0, 8, labels.shape)
    return filled(empty, (grey + noise).astype(np.int16)), filled(empty, labels)


def write_published(
    folder: Path, series: Mapping[str, tuple[SimpleITK.Image, SimpleITK.Image]]
) -> None:
    """Write images/NAME.mha and masks/NAME.mha."""
    for name, volumes in series.items():
        for kind, volume in zip(("images", "masks"), volumes, strict=True):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            SimpleITK.WriteImage(volume, str(folder / kind / f"{name}.mha"), useCompression=True)


def points_of_structure(case: Case, name: str) -> Any:
    """LPS mm of the voxels of a structure, (n, 3)."""
    ijk = np.argwhere(case.labels == BY_ID[name].value)  # type: ignore[index]
    return ijk @ case.affine[:3, :3].T + case.affine[:3, 3]
