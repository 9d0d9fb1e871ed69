"""A contact sheet of the readers' planes: image, predicted outlines and lengths, and the readers' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from dicomseg.measure.plane import Raster, to_lps, to_plane
from dicomseg.structures import StructureId
from training.evaluate.reading_comparison import STRUCTURE, VolumeComparison, predicted_outlines
from training.report.plots import hex_colour

COLUMNS: Final = 3
SHOWN: Final = Raster(-48.0, -50.0, 0.5, (193, 161))
_DASHES: Final = ("dashed", "dotted")


def write(comparisons: Sequence[VolumeComparison], file: Path) -> None:
    """Write one panel per volume: prediction solid, first reading dashed, second dotted, measured lines white.

    The patient's left is on the right of a panel, the front above.
    """
    rows = -(-len(comparisons) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 4.6 * rows), layout="constrained", facecolor="black")
    panels: Any = figure.subplots(rows, COLUMNS, squeeze=False)
    for ax in panels.ravel():
        ax.set_axis_off()
    for ax, volume in zip(panels.ravel(), comparisons, strict=False):
        _panel(ax, volume)
    figure.savefig(file, dpi=90, facecolor="black")


def _panel(ax: Axes, volume: VolumeComparison) -> None:
    plane = volume.readings.plane
    (na, nb), step = SHOWN.shape, SHOWN.step_mm
    a, b = SHOWN.a_mm + step * np.arange(na), SHOWN.b_mm + step * np.arange(nb)
    lps = to_lps(plane, np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1))
    index = np.moveaxis(volume.image.to_index(lps), -1, 0)
    grey = map_coordinates(volume.image.array, index, order=1, cval=0.0)
    extent = (a[0], a[-1], b[-1], b[0])
    limits = tuple(np.percentile(grey, (1, 99.5)))
    ax.imshow(grey.T, cmap="gray", vmin=limits[0], vmax=limits[1], extent=extent)
    for reading, dashes in zip(volume.readings.readings, _DASHES, strict=False):
        for kind, polygons in reading.outlines.items():
            for polygon in polygons:
                x, y = polygon.exterior.xy
                ax.plot(x, y, color=hex_colour(STRUCTURE[kind]), linestyle=dashes, linewidth=0.9)
    ax.set_title(_title(volume), color="white", fontsize=7, loc="left")
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])
    if volume.segmentation is None:
        return
    wanted: tuple[StructureId, ...] = ("aa", "pm", "ivc", "ivd")
    sections = predicted_outlines(volume.segmentation, volume.readings).sections
    for name in wanted:
        for section in sections[name]:
            x, y = section.polygon.exterior.xy
            ax.plot(x, y, color=hex_colour(name), linewidth=1.5)
    lines = {} if volume.measured is None else volume.measured.main
    for line in lines.values():
        if line.points_lps is not None:
            x, y = to_plane(plane, np.array(line.points_lps)).T
            ax.plot(x, y, color="white", linewidth=1.0)


def _title(volume: VolumeComparison) -> str:
    parts = []
    for name, v in volume.values.items():
        if v.value_mm is None:
            parts.append(f"{name} {v.refusal}")
            continue
        off = "" if v.off_mm is None else f" ({v.off_mm:+.1f})"
        parts.append(f"{name} {v.value_mm:.1f}{off}{'*' if v.is_marked else ''}")
    return f"{volume.readings.name}  " + "  ".join(parts)
