"""Panels B and F: the surfaces as a surgeon looks at them, and the vessels from the front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from scipy import ndimage

from dicomseg.draw.corridor import corridor_plate
from dicomseg.draw.layout import (
    FRONT_SHIFT_MM,
    HALF_FRONT_MM,
    HALF_VIEW_MM,
    VIEW_ANGLES,
    VIEW_SHIFT_MM,
    Box,
    pixels,
)
from dicomseg.draw.looks import CORRIDOR_RGB, FAINT, INK, LOOKS, ON_WHITE
from dicomseg.draw.plan import Plan
from dicomseg.draw.render import Camera, Part, look_from, render
from dicomseg.draw.sheet import halo
from dicomseg.draw.surface import Mesh
from dicomseg.draw.texts import Texts
from dicomseg.structures import SEGMENTS, Segment, StructureId
from dicomseg.volume import Array, Points, to_point

GLASS: Final[frozenset[StructureId]] = frozenset({"pm"})
"""Structures one looks through."""
_FRONT: Final[frozenset[StructureId]] = frozenset({"l4", "l5", "ivd", "aa", "ivc"})
_END_MM: Final = 6.0
"""Names of long structures are written at their upper end, this deep."""
_LONG: Final[frozenset[StructureId]] = frozenset({"ivc", "aa", "dura"})
_UNNAMED: Final[frozenset[StructureId]] = frozenset({"ivd", "l5"})
_LEAST_SEEN_MM2: Final = 15.0
"""A part of which less is seen gets no name."""
_LEAST_NAMED_ML: Final = 1.0
"""A smaller translucent part gets no name: it would be taken for that of what lies behind."""
_EDGES: Final = {"left": 0.015, "right": 0.985}
"""Where names are held that would leave the picture, as a share of its width."""
_AXES_MM: Final = 7.0


def camera_of(box: Box, plan: Plan, *, front: bool) -> Camera:
    """Return the camera of panel B, or of F (from the front)."""
    _, _, width, height = pixels(box)
    azimuth, elevation = (0.0, 0.0) if front else VIEW_ANGLES
    shift = FRONT_SHIFT_MM if front else VIEW_SHIFT_MM
    centre = np.array(plan.plane.point_lps) + np.array(shift)
    half = HALF_FRONT_MM if front else HALF_VIEW_MM
    return Camera(look_from(azimuth, elevation), to_point(centre), half, (width, height))


def render_view(meshes: Mapping[int, Mesh], plan: Plan, camera: Camera) -> tuple[Array, Array]:
    """Render panel B; returns what `render` does, the opaque parts being the opaque segments in order."""
    opaque, glass = _parts(meshes, None)
    if plan.corridor is not None:
        opaque.append(Part(corridor_plate(plan.corridor, plan.plane), CORRIDOR_RGB))
    return render(opaque, glass, camera)


def render_front(meshes: Mapping[int, Mesh], camera: Camera) -> Array:
    """Render panel F as RGB uint8 (height, width, 3)."""
    opaque, _ = _parts(meshes, _FRONT)
    return render(opaque, [], camera)[0]


def draw_view(
    axes: Axes, camera: Camera, view: tuple[Array, Array], meshes: Mapping[int, Mesh], texts: Texts
) -> None:
    """Draw panel B. view: as `render_view` renders it."""
    rgb, parts = view
    _show(axes, rgb)
    number = 0
    for segment in SEGMENTS:
        if segment.number not in meshes:
            continue
        name = segment.structure.id
        if name in GLASS:
            spot = _upper_end(meshes[segment.number], camera)
        else:
            spot = _visible_spot(parts == number, camera, is_long=name in _LONG)
            number += 1
        if spot is not None and name not in _UNNAMED:
            _name(axes, camera, _text(segment, texts), spot, LOOKS[name].ink)
    _draw_axes(axes, camera, texts)


def _text(segment: Segment, texts: Texts) -> str:
    """Name of a segment in the picture, with its side where it has one."""
    name = segment.structure.id
    if segment.side is None:
        return texts.short_names[name]
    return texts.side_names[segment.side].format(structure=texts.structures[name])


def draw_front(axes: Axes, camera: Camera, rgb: Array, plan: Plan, texts: Texts) -> None:
    """Draw panel F: bodies, disc and vessels from the front, the plane's trace, and where vessels divide.

    rgb: as `render_front` renders it.
    """
    _show(axes, rgb)
    plane = plan.plane
    ends = camera.project(
        np.array(plane.point_lps) + np.outer([-60.0, 60.0], np.array(plane.e_left))
    )
    axes.plot(
        ends[:, 0], ends[:, 1], color=ON_WHITE, lw=0.9, ls=(0, (5, 3)), path_effects=_pale(1.8)
    )
    width, height = camera.size
    for name, height_mm in plan.forks_mm.items():
        lps = np.array(plane.point_lps) + height_mm * np.array(plane.normal)
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
            f"{height_mm:+.0f}",
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
    axes.imshow(rgb, interpolation="none", aspect="auto", extent=(0, width, height, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _upper_end(mesh: Mesh, camera: Camera) -> Points | None:
    """Pixel (x, y) of the middle of a long structure's upper end; None outside the picture, or for a mere scrap."""
    if mesh.volume_ml < _LEAST_NAMED_ML:
        return None
    vertices = mesh.vertices_lps
    top = vertices[vertices[:, 2] > vertices[:, 2].max() - _END_MM]
    spot: Points = camera.project(top.mean(axis=0))[:2]
    width, height = camera.size
    is_inside = 0 < spot[0] < width and -0.1 * height < spot[1] < height
    return spot if is_inside else None


def _visible_spot(mask: Array, camera: Camera, *, is_long: bool) -> Points | None:
    """Pixel (x, y) for a name on the largest piece that is seen of a part; None where too little is seen.

    At the upper end of a long one.
    """
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    rows, columns = np.nonzero((pieces == sizes.argmax()) & mask)
    if len(rows) * camera.pixel_mm**2 < _LEAST_SEEN_MM2:
        return None
    if is_long:
        end = rows < rows.min() + _END_MM / camera.pixel_mm
        rows, columns = rows[end], columns[end]
    away = np.hypot(rows - rows.mean(), columns - columns.mean())
    nearest = int(np.argmin(away))
    return np.array([columns[nearest], rows[nearest]], np.float64)


def _name(axes: Axes, camera: Camera, text: str, spot: Points, ink: str) -> None:
    (x, y), (width, height) = spot, camera.size
    room = 0.0125 * len(text) * width + 0.01 * width  # half of what bold type of this size takes
    side = "left" if x < room else "right" if x > width - room else "center"
    axes.text(
        min(max(x, 0.02 * width), 0.98 * width) if side == "center" else _EDGES[side] * width,
        max(y, 0.045 * height),
        text,
        fontsize=6.2,
        weight="bold",
        color=ink,
        ha=side,
        va="center",
        path_effects=_pale(2.0),
        gid="name",
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
