"""Draws docs/images: eight random synthetic cases beside real slices, and painted CT label maps.

`python docs/cohort.py CASES`, where CASES holds prepared cases (`lumbar-train prepare`): phantoms and
SPIDER for cohort.png, real shapes for real-shapes.png, varied phantoms for varied-vessels.png.
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
from training.data.cases import Case, list_cases, load_case
from training.fit.augment import window_box

SYNTHETIC, REAL, SEED = 8, 4, 3
PICTURES = Path(__file__).parent / "images"


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
    rows, columns = window_box(case)[1:]
    image, labels = case.image, case.labels
    sagittal = (image[:, rows, k], labels[:, rows, k])
    axial = (image[i, rows, columns][::-1], labels[i, rows, columns][::-1])
    return [sagittal, axial]


def _draw(chosen: list[Path], picture: Path) -> None:
    """Two cases a row: sagittal, axial, axial with labels."""
    rows = -(-len(chosen) // 2)
    figure, axes = plt.subplots(rows, 6, figsize=(15, 2.5 * rows), facecolor="black", squeeze=False)
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
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=70, facecolor="black")


def main(cases: Path) -> None:
    """Draw the picture of the kinds that are there."""
    rng = np.random.default_rng(SEED)
    found = [p for p in list_cases(cases) if not p.stem.startswith("phantom-lumbar")]
    varied = [p for p in found if p.stem.startswith("phantom-varied")]
    found = [p for p in found if p not in varied]
    phantoms, real, shapes = (
        [p for p in found if p.stem.startswith(kind)] for kind in ("phantom", "spider", "shapes")
    )
    if phantoms and real:
        chosen = [
            *(phantoms[n] for n in rng.choice(len(phantoms), SYNTHETIC, replace=False)),
            *(real[n] for n in rng.choice(len(real), REAL, replace=False)),
        ]
        _draw(chosen, PICTURES / "cohort.png")
    if varied:
        _draw(varied[:SYNTHETIC], PICTURES / "varied-vessels.png")
    if shapes:
        _draw(shapes, PICTURES / "real-shapes.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
