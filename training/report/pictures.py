"""Pictures of one case: outlines of prediction and reference on two slices, and both as surfaces.

Slices are shown as a radiologist sees them: the patient's left on the right of an axial slice, the front
on the left of a sagittal one. Cases lie on the canonical axial grid (slices to the head, rows to the
back, columns to the left).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]
from scipy import ndimage
from skimage.measure import marching_cubes

from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Volume
from training.data.cases import Case
from training.evaluate.baselines import overlap_with_window
from training.report.plots import hex_colour

REFERENCE: Final = "#ffffff"
SURFACE_STEP_MM: Final = 1.6
"""Voxels of the surfaces; finer ones show no more at this size and take long to draw."""
MIN_VOXELS: Final = 20
ZOOM: Final = 1.2
LIGHT: Final = np.array([0.35, -0.75, 0.55])
"""Direction towards the light in LPS: from the front, a little from the left and above."""


def outlines(case: Case, predicted: Array | None) -> Figure:
    """Draw an axial and a sagittal slice through the true level: prediction in colour, reference white and dashed.

    predicted: uint8 labels, the case's shape; None where the level was missed.
    """
    of_case, _ = overlap_with_window(case)
    centre = Volume(case.labels, case.affine).to_index(np.array(case.level_centre_lps))
    i, _, k = (int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(centre, case.labels.shape, strict=True))  # fmt: skip
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    cuts: tuple[tuple[str, Any, tuple[float, float], str], ...] = (
        ("axial", (i, of_case[1], of_case[2]), (spacing[1], spacing[2]), "upper"),
        ("sagittal", (of_case[0], of_case[1], k), (spacing[0], spacing[1]), "lower"),
    )
    figure = Figure(figsize=(11, 5.2), layout="constrained", facecolor="black")
    panels: Any = figure.subplots(1, 2)
    limits = tuple(np.percentile(case.image[of_case], (1, 99.5)))
    for ax, (title, cut, size, origin) in zip(panels, cuts, strict=True):
        rows, columns = case.labels[cut].shape
        extent = (0.0, columns * size[1], 0.0, rows * size[0])
        ax.imshow(case.image[cut], cmap="gray", vmin=limits[0], vmax=limits[1], origin=origin, extent=extent)  # fmt: skip
        if predicted is not None:
            _contours(ax, predicted[cut], size, origin, known=None)
        _contours(ax, case.labels[cut], size, origin, known=REFERENCE)
        ax.set_title(f"{title}; prediction in colour, reference white", color="white", fontsize=9, loc="left")  # fmt: skip
        ax.set_axis_off()
    return figure


def _contours(
    ax: Axes, labels: Array, size: tuple[float, float], origin: str, *, known: str | None
) -> None:
    """Draw the outline of every structure on one slice; dashed in one colour if that is given."""
    rows, columns = labels.shape
    x = (np.arange(columns) + 0.5) * size[1]
    y = (np.arange(rows) + 0.5) * size[0]
    if origin == "upper":
        y = y[::-1]
    for structure in STRUCTURES:
        mask = labels == structure.value
        if min(mask.shape) > 1 and mask.any():
            style = {"linewidths": 0.8, "linestyles": "dashed"} if known else {"linewidths": 1.6}
            ax.contour(x, y, mask.astype(float), [0.5], colors=known or hex_colour(structure.id), **style)  # fmt: skip


def surfaces(case: Case, predicted: Array | None) -> Figure:
    """Draw the reference on the left and the prediction on the right, as surfaces seen from the front and left."""
    of_case, _ = overlap_with_window(case)
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    sides = {"reference": case.labels, "automatic": predicted}
    meshes = {k: _triangles(v[of_case], case) for k, v in sides.items() if v is not None}
    corners = np.concatenate([t.reshape(-1, 3) for t, _ in meshes.values()])
    low, high = (corners.min(0), corners.max(0)) if len(corners) else (np.zeros(3), np.ones(3))
    for n, title in enumerate(sides, start=1):
        ax: Any = figure.add_subplot(1, 2, n, projection="3d")
        ax.set_title(title, fontsize=11)
        triangles, colours = meshes.get(title, (np.empty((0, 3, 3)), None))
        if len(triangles):
            ax.add_collection3d(Poly3DCollection(triangles, facecolors=colours, linewidths=0))
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        ax.set_box_aspect(tuple(high - low), zoom=ZOOM)
        ax.view_init(elev=18, azim=-65)
        ax.set_axis_off()
    return figure


def _triangles(labels: Array, case: Case) -> tuple[Array, Array]:
    """Return triangles (n, 3, 3) of all structures in mm (x to the left, y to the back, z up), and RGB of each.

    All in one list, since matplotlib sorts by depth inside one collection only.
    """
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    parts, colours = [], []
    for structure in STRUCTURES:
        mask = labels == structure.value
        if int(mask.sum()) < MIN_VOXELS:
            continue
        corners, faces = _surface(mask, spacing)
        triangles = corners[faces][..., ::-1]
        parts.append(triangles)
        colours.append(_lit(triangles, structure.id))
    if not parts:
        return np.empty((0, 3, 3)), np.empty((0, 3))
    return np.concatenate(parts), np.concatenate(colours)


def _surface(mask: Array, spacing: Array) -> tuple[Array, Array]:
    """Return vertices (mm along slices, rows, columns) and faces of a smoothed mask."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = np.array([s.start for s in box])
    padded = np.pad(mask[box].astype(np.float32), 4)
    soft = ndimage.gaussian_filter(padded, 0.8)
    zoom = spacing / SURFACE_STEP_MM
    coarse = ndimage.zoom(soft, zoom, order=1, grid_mode=True, mode="grid-constant")
    step = np.array(padded.shape) * spacing / np.array(coarse.shape)
    level = 0.5 if coarse.max() > 0.55 else float(coarse.max()) / 2
    corners, faces, _, _ = marching_cubes(coarse, level)  # type: ignore[no-untyped-call]
    return (corners + 0.5) * step + (start - 4) * spacing, faces


def _lit(triangles: Array, name: StructureId) -> Array:
    """Return RGB (n, 3) of triangles under one light from the front."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    shade = 0.45 + 0.55 * np.abs(normals @ (LIGHT / np.linalg.norm(LIGHT)))
    return np.asarray(np.clip(np.array(BY_ID[name].rgb) / 255 * shade[:, None], 0, 1))
