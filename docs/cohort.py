"""Draws docs/images/cohort.png: eight random synthetic cases beside real slices.

`python docs/cohort.py CASES`, where CASES holds prepared cases of both kinds (`lumbar-train prepare`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from dicomseg.structures import STRUCTURES
from training.augment import window_of
from training.cases import Case, load_case
from training.fit import below

SYNTHETIC, REAL, SEED = 8, 4, 3
PICTURE = Path(__file__).parent / "images" / "cohort.png"


def _show(axis: Axes, image: np.ndarray, labels: np.ndarray | None) -> None:
    low, high = np.quantile(image, (0.01, 0.995))
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="bilinear")
    for structure in STRUCTURES if labels is not None else ():
        colour = [c / 255 for c in structure.rgb]
        mask = labels == structure.value  # type: ignore[operator]
        if mask.any():
            axis.contour(mask, [0.5], colors=[colour], linewidths=0.7)
    axis.set_axis_off()


def _views(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sagittal through the disc (head up) and axial at the disc (front up), each with its labels."""
    inverse = np.linalg.inv(case.affine)
    i, _, k = np.round(inverse[:3, :3] @ case.level_centre_lps + inverse[:3, 3]).astype(int)
    rows, columns = window_of(case)[1:]
    image, labels = case.image, case.labels
    sagittal = (image[:, rows, k], labels[:, rows, k])
    axial = (image[i, rows, columns][::-1], labels[i, rows, columns][::-1])
    return [sagittal, axial]


def main(cases: Path) -> None:
    """Draw the picture."""
    rng = np.random.default_rng(SEED)
    found = below(cases)
    kinds = [[p for p in found if p.stem.startswith(kind)] for kind in ("phantom", "spider")]
    chosen = [
        *(kinds[0][n] for n in rng.choice(len(kinds[0]), SYNTHETIC, replace=False)),
        *(kinds[1][n] for n in rng.choice(len(kinds[1]), REAL, replace=False)),
    ]
    figure, axes = plt.subplots(6, 6, figsize=(15, 15), facecolor="black")
    for axis in axes.flat:
        axis.set_axis_off()
    for n, path in enumerate(chosen):
        case = load_case(path)
        row, column = divmod(n, 2)
        for view, (image, labels) in enumerate(_views(case)):
            axis = axes[row, 3 * column + view]
            _show(axis, image, None)
            if view == 0:
                axis.set_title(case.case_id, color="white", fontsize=9)
            else:
                _show(axes[row, 3 * column + 2], image, labels)
    figure.tight_layout(pad=0.3)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=70, facecolor="black")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
