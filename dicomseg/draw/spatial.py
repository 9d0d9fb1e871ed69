"""Panels B and F: the surfaces as a surgeon looks at them, and the vessels from the front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from dicomseg.draw.corridor import corridor_plate
from dicomseg.draw.layout import (
    FRONT_SHIFT_MM,
    HALF_FRONT_MM,
    HALF_VIEW_MM,
    VIEW_ANGLES,
    VIEW_DPI,
    VIEW_SHIFT_MM,
    Box,
)
from dicomseg.draw.looks import CORRIDOR_RGB, FAINT, INK, LOOKS, ON_WHITE
from dicomseg.draw.plan import Plan
from dicomseg.draw.render import Camera, Part, look_from, render
from dicomseg.draw.sheet import halo
from dicomseg.draw.surface import Mesh
from dicomseg.draw.texts import Texts
from dicomseg.structures import SEGMENTS, StructureId
from dicomseg.volume import Array, Points, to_point

GLASS: Final[frozenset[StructureId]] = frozenset({"pm"})
"""Structures one looks through."""
_FRONT: Final[frozenset[StructureId]] = frozenset({"l4", "l5", "ivd", "aa", "ivc"})
_END_MM: Final = 6.0
"""Names of long structures are written at their upper end, this deep."""
_AXES_MM: Final = 7.0


def camera_of(box: Box, plan: Plan, *, front: bool) -> Camera:
    """Return the camera of panel B, or of F (from the front)."""
    width, height = (round(mm / 25.4 * VIEW_DPI) for mm in (box.width, box.height))
    azimuth, elevation = (0.0, 0.0) if front else VIEW_ANGLES
    shift = FRONT_SHIFT_MM if front else VIEW_SHIFT_MM
    centre = np.array(plan.plane.point_lps) + np.array(shift)
    half = HALF_FRONT_MM if front else HALF_VIEW_MM
    return Camera(look_from(azimuth, elevation), to_point(centre), half, (width, height))


def draw_view(
    axes: Axes, camera: Camera, meshes: Mapping[int, Mesh], plan: Plan, texts: Texts
) -> Array:
    """Draw panel B; returns the part number per pixel, the parts being the opaque segments in order."""
    opaque, glass = _parts(meshes, None)
    if plan.corridor is not None:
        opaque.append(Part(corridor_plate(plan.corridor, plan.plane), CORRIDOR_RGB))
    rgb, parts = render(opaque, glass, camera)
    _show(axes, rgb)
    for segment in SEGMENTS:
        mesh, name = meshes.get(segment.number), segment.structure.id
        if mesh is None or name in {"ivd", "l5"}:
            continue
        text = texts.short_names[name]
        if segment.side is not None:
            long = texts.structures[name]
            text = texts.side_names[segment.side].format(structure=long)
        if name == "n4" and segment.side == "right":
            continue  # behind the spine
        _name(axes, camera, text, _anchor(mesh, name), LOOKS[name].ink)
    _draw_axes(axes, camera, texts)
    return parts


def draw_front(
    axes: Axes, camera: Camera, meshes: Mapping[int, Mesh], plan: Plan, texts: Texts
) -> None:
    """Draw panel F: bodies, disc and vessels from the front, the plane's trace, and where vessels divide."""
    opaque, _ = _parts(meshes, _FRONT)
    rgb, _ = render(opaque, [], camera)
    _show(axes, rgb)
    plane = plan.plane
    ends = camera.project(
        np.array(plane.point_lps) + np.outer([-60.0, 60.0], np.array(plane.e_left))
    )
    axes.plot(
        ends[:, 0], ends[:, 1], color=ON_WHITE, lw=0.9, ls=(0, (5, 3)), path_effects=_pale(1.8)
    )
    width, height = camera.size
    for name, fork in plan.forks.items():
        if fork.place != "at":
            continue
        lps = np.array(plane.point_lps) + fork.height_mm * np.array(plane.normal)
        y = float(camera.project(lps)[1])
        if not 8 < y < height - 8:
            continue
        start, side = (0.02, "left") if name == "aa" else (0.88, "right")
        at = 0.13 if name == "aa" else 0.87
        line = [width * start, width * (start + 0.10)]
        axes.plot(line, [y, y], color=LOOKS[name].ink, lw=1.4)
        axes.text(
            width * at,
            y,
            f"{fork.height_mm:+.0f}",
            color=LOOKS[name].ink,
            fontsize=6,
            weight="bold",
            va="center",
            ha=side,
            path_effects=_pale(1.8),
        )
    for x, text, side in (
        (0.03, texts.directions.right, "left"),
        (0.97, texts.directions.left, "right"),
    ):
        axes.text(
            x,
            0.02,
            text,
            transform=axes.transAxes,
            fontsize=8,
            weight="bold",
            color=INK,
            ha=side,
            path_effects=_pale(2.0),
            gid="letter",
        )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _pale(width: float) -> list[object]:
    return halo(width, "white")


def _parts(
    meshes: Mapping[int, Mesh], kept: frozenset[StructureId] | None
) -> tuple[list[Part], list[Part]]:
    """Opaque and translucent parts of the segments that are kept, all where None."""
    opaque, glass = list[Part](), list[Part]()
    for segment in SEGMENTS:
        name = segment.structure.id
        if segment.number in meshes and (kept is None or name in kept):
            part = Part(meshes[segment.number], LOOKS[name].rgb)
            (glass if name in GLASS else opaque).append(part)
    return opaque, glass


def _show(axes: Axes, rgb: Array) -> None:
    height, width, _ = rgb.shape
    axes.imshow(rgb, interpolation="none", aspect="equal", extent=(0, width, height, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _anchor(mesh: Mesh, name: StructureId) -> Points:
    """Where a structure's name is written: in the middle of a compact one, at the upper end of a long one."""
    vertices = mesh.vertices_lps
    if name in {"ivc", "aa", "pm", "dura"}:
        vertices = vertices[vertices[:, 2] > vertices[:, 2].max() - _END_MM]
    middle: Points = vertices.mean(axis=0)
    return middle


def _name(axes: Axes, camera: Camera, text: str, lps: Points, ink: str) -> None:
    x, y, _ = camera.project(lps)
    width, height = camera.size
    if not (0 < x < width and -0.1 * height < y < height):
        return
    axes.text(
        min(max(x, 0.08 * width), 0.9 * width),
        max(y, 0.045 * height),
        text,
        fontsize=6.2,
        weight="bold",
        color=ink,
        ha="center",
        va="center",
        path_effects=_pale(2.0),
    )


def _draw_axes(axes: Axes, camera: Camera, texts: Texts) -> None:
    """Draw the patient's directions in the lower left corner: left, head, front."""
    width, height = camera.size
    corner = np.array([0.115 * width, 0.915 * height])
    words = texts.directions
    for lps, text in (((1, 0, 0), words.left), ((0, 0, 1), words.head), ((0, -1, 0), words.front)):
        seen = camera.axes @ np.array(lps, np.float64)
        step = np.array([seen[0], -seen[1]]) * _AXES_MM / camera.pixel_mm
        end, label = corner + step, corner + 1.45 * step
        axes.plot(*np.array([corner, end]).T, color=INK, lw=1.1, solid_capstyle="round")
        axes.text(
            float(label[0]),
            float(label[1]),
            text,
            fontsize=6.5,
            weight="bold",
            color=INK,
            ha="center",
            va="center",
            path_effects=_pale(2.0),
            gid="letter",
        )
