"""Draws docs/images/result.png: one result as it arrives, on the mid-disc plane and in a sagittal slice.

`python docs/result.py RESULT SERIES`: a result folder of the demonstration, and the folder of its series.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from dicomseg.structures import SEGMENTS

PICTURE = Path(__file__).parent / "images" / "result.png"
SIZE_MM = (136.0, 104.0)
"""Width and height of both views."""
STEP_MM = 0.4


def _sampled(array: np.ndarray, affine: np.ndarray, lps: np.ndarray, order: int) -> np.ndarray:
    """Sample a volume (i, j, k) at LPS points (rows, columns, 3)."""
    inverse = np.linalg.inv(affine)
    ijk = lps @ inverse[:3, :3].T + inverse[:3, 3]
    return np.asarray(map_coordinates(array, np.moveaxis(ijk, -1, 0), order=order, cval=0.0))


def _grid(centre: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """LPS points of a view: rows along `down`, columns along `right`, unit vectors."""
    width, height = (np.arange(-s / 2, s / 2, STEP_MM) for s in SIZE_MM)
    return np.asarray(centre + height[:, None, None] * down + width[None, :, None] * right)


def _volumes(result: Path, series: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return image and segment numbers, each with its affine to LPS mm."""
    image = hd.get_volume_from_series([pydicom.dcmread(p) for p in sorted(series.glob("*.dcm"))])
    labels = hd.seg.segread(result / "seg.dcm").get_volume(combine_segments=True)
    return image.array.astype(float), image.affine, labels.array, labels.affine


def _view(
    axis: Axes, lps: np.ndarray, volumes: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    image, image_affine, labels, affine = volumes
    picture = _sampled(image, image_affine, lps, 1)
    low, high = np.quantile(picture, (0.01, 0.985))
    axis.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    for segment in SEGMENTS:
        mask = _sampled((labels == segment.number).astype(float), affine, lps, 1)
        if mask.max() > 0.5:
            colour = [c / 255 for c in segment.structure.rgb]
            axis.contour(mask, [0.5], colors=[colour], linewidths=1.4)
    axis.set_axis_off()


def _lines(
    axis: Axes, values: dict[str, Any], centre: np.ndarray, axes: tuple[np.ndarray, np.ndarray]
) -> None:
    """Draw each value as its line with a label at the side of the view."""
    places = {"DIVC": (0.03, 0.95), "PI": (0.03, 0.52), "DAA": (0.72, 0.95), "OC": (0.72, 0.52)}
    for name, value in values.items():
        ends = np.array(value["points_mm"]) - centre
        columns = (ends @ axes[0] + SIZE_MM[0] / 2) / STEP_MM
        rows = (ends @ axes[1] + SIZE_MM[1] / 2) / STEP_MM
        axis.plot(columns, rows, "-o", color="yellow", linewidth=1.6, markersize=3)
        text = f"{name} {value['value_mm']:.1f} ± {value['uncertainty_mm'] or 0:.1f} mm"
        axis.annotate(
            text, (columns.mean(), rows.mean()), places[name], textcoords="axes fraction",
            color="yellow", fontsize=11, arrowprops={"arrowstyle": "-", "color": "yellow", "lw": 0.6},
        )  # fmt: skip


def main(result: Path, series: Path) -> None:
    """Draw both views side by side."""
    content = json.loads((result / "result.json").read_text(encoding="utf-8"))
    centre, normal = (np.array(content["level"][key]) for key in ("centre_mm", "normal"))
    left = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    left /= np.linalg.norm(left)
    back = np.cross(normal, left)
    volumes = _volumes(result, series)
    figure = Figure(figsize=(13, 5), layout="constrained", facecolor="black")
    plane, sagittal = figure.subplots(1, 2)
    middle = centre - 12 * back
    _view(plane, _grid(middle, left, back), volumes)
    _lines(plane, content["measurements"], middle, (left, back))
    _view(sagittal, _grid(centre, np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])), volumes)
    figure.savefig(PICTURE, dpi=80, facecolor="black")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
