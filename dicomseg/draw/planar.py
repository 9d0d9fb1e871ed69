"""Panels A, C, D and E: grey pictures of planes with outlines, lines, labels, letters and a ruler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.patches import Polygon as Patch
from shapely.geometry import box as rectangle
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from dicomseg.draw.corridor import Corridor
from dicomseg.draw.layout import RULER_MM, Box, pixels
from dicomseg.draw.looks import CORRIDOR, LOOKS, NOT_IMAGED
from dicomseg.draw.plan import SHOWN, Plan
from dicomseg.draw.reformat import Window, doubled, find_window, sample_grey, to_rgb
from dicomseg.draw.sheet import halo
from dicomseg.draw.texts import Texts
from dicomseg.measure.contours import outline_sections
from dicomseg.measure.plane import Raster
from dicomseg.measure.polygons import Section
from dicomseg.measure.score_field import ScoreField
from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
from dicomseg.structures import StructureId
from dicomseg.volume import Volume

FINE_MM: Final = 0.2
"""Smaller pixels are interpolated between every second one: no source has as many."""
OUTLINE_MM: Final = 0.6
NAME_ROOM_MM: Final = 3.0
"""Between a name and labels or the picture's edge."""
_SHADE: Final = "#00000088"
SLICE_STRUCTURES: Final[tuple[StructureId, ...]] = (
    "l4", "l5", "ivd", "dura", "pm", "n4", "ivc", "aa",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """What a panel shows of a plane: the middle of the picture (a, b), and half its width, in mm."""

    plane: Plane
    middle_ab: tuple[float, float]
    half_mm: float

    def frame(self, box: Box) -> tuple[float, float, float, float]:
        """Return least a, least b, most a, most b in a panel of this shape."""
        _, _, width, height = pixels(box)
        half_b = self.half_mm * height / width
        a, b = self.middle_ab
        return a - self.half_mm, b - half_b, a + self.half_mm, b + half_b


def show_grey(
    axes: Axes, volume: Volume, view: View, box: Box, window: Window | None = None
) -> Window:
    """Draw the grey values; returns the window, of this picture where none is given."""
    a0, b0, a1, b1 = view.frame(box)
    _, _, width, height = pixels(box)
    step = (a1 - a0) / width
    is_fine = step < FINE_MM
    sampled = Raster(a0 + step / 2, b0 + step / 2, step, (width, height))
    if is_fine:
        half = (width // 2 + 1, height // 2 + 1)
        sampled = Raster(sampled.a_mm, sampled.b_mm, 2 * step, half)
    grey = sample_grey(volume, view.plane, sampled)
    if is_fine:
        grey = doubled(grey)[:width, :height]
    window = window or find_window(grey)
    axes.imshow(
        to_rgb(grey, window, NOT_IMAGED),
        extent=(a0, a1, b1, b0),
        interpolation="none",
        aspect="auto",
    )
    axes.set_xlim(a0, a1)
    axes.set_ylim(b1, b0)
    red, green, blue = (c / 255 for c in NOT_IMAGED)
    axes.set_facecolor((red, green, blue))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return window


def draw_outlines(
    axes: Axes,
    sections: Mapping[StructureId, Sequence[Section]],
    order: Sequence[StructureId],
    width: float,
) -> None:
    """Draw the outline of every section, each structure in its colour and stroke."""
    for name in order:
        look = LOOKS[name]
        for section in sections.get(name, ()):
            outline = np.array(section.polygon.exterior.coords)
            axes.add_patch(
                Patch(
                    outline,
                    fill=False,
                    edgecolor=look.outline,
                    linestyle=look.stroke,
                    linewidth=width,
                    path_effects=halo(width + 0.75, _SHADE),
                )
            )


def letter(axes: Axes, text: str, x: float, y: float) -> None:
    """Write an orientation letter at shares of the picture from its left and bottom, on top of everything."""
    across = "left" if x < 0.3 else "right" if x > 0.7 else "center"
    up = "bottom" if y < 0.1 else "top" if y > 0.9 else "center"
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color="white",
        fontsize=8,
        weight="bold",
        ha=across,
        va=up,
        path_effects=halo(),
        zorder=12,
        gid="letter",
    )


def draw_ruler(axes: Axes, texts: Texts) -> None:
    """Draw the ruler in the lower right corner."""
    a0, a1 = axes.get_xlim()
    b1, b0 = axes.get_ylim()
    right, y = a1 - (a1 - a0) * 0.04, b1 - (b1 - b0) * 0.045
    ends = [right - RULER_MM, right]
    axes.plot(
        ends, [y, y], color="white", lw=1.6, solid_capstyle="butt", path_effects=halo(), zorder=12
    )
    axes.text(
        right - RULER_MM / 2,
        y - (b1 - b0) * 0.012,
        texts.ruler.format(mm=RULER_MM),
        color="white",
        fontsize=5.6,
        ha="center",
        va="bottom",
        path_effects=halo(),
        zorder=12,
    )


def draw_corridor(axes: Axes, corridor: Corridor) -> None:
    """Fill the free space, with an arrow along the way in."""
    outline = np.array(corridor.shape.exterior.coords)
    axes.add_patch(Patch(outline, facecolor=CORRIDOR, edgecolor="none", alpha=0.30))
    axes.add_patch(Patch(outline, fill=False, edgecolor=CORRIDOR, linewidth=0.7))
    far, near = corridor.arrow_ab
    axes.add_patch(
        FancyArrowPatch(
            (float(far[0]), float(far[1])),
            (float(near[0]), float(near[1])),
            arrowstyle="-|>",
            mutation_scale=11,
            color=CORRIDOR,
            linewidth=1.8,
            path_effects=halo(),
        )
    )


def draw_slice(
    axes: Axes, seg: Segmentation, view: View, box: Box
) -> Mapping[StructureId, Sequence[Section]]:
    """Outline every structure on any plane; returns the sections."""
    a0, b0, a1, b1 = view.frame(box)
    shape = (int((a1 - a0) / OUTLINE_MM) + 1, int((b1 - b0) / OUTLINE_MM) + 1)
    raster = Raster(a0, b0, OUTLINE_MM, shape)
    field = ScoreField(seg.scores.logits, seg.scores.affine, 0.0, seg)
    sections = outline_sections(field, view.plane, raster, SLICE_STRUCTURES).sections
    draw_outlines(axes, sections, SLICE_STRUCTURES, 0.9)
    return sections


def draw_trace(axes: Axes, view: View, other: Plane) -> None:
    """Draw where another plane crosses this one, dashed."""
    normal = np.array(other.normal)
    along_a, along_b = normal @ view.plane.e_left, normal @ view.plane.e_back
    away = normal @ (np.array(view.plane.point_lps) - np.array(other.point_lps))
    if abs(along_b) < 0.2:
        return
    a = np.array(axes.get_xlim())
    axes.plot(
        a,
        -(away + along_a * a) / along_b,
        color=CORRIDOR,
        lw=0.8,
        ls=(0, (5, 3)),
        path_effects=halo(),
        gid="trace",
    )


def draw_names(axes: Axes, plan: Plan, texts: Texts, labels: Sequence[BaseGeometry]) -> None:
    """Write the short name of each psoas inside it, where no label of a line is."""
    taken = unary_union(labels).buffer(NAME_ROOM_MM)
    (a0, a1), (b1, b0) = axes.get_xlim(), axes.get_ylim()
    seen = rectangle(a0, b0, a1, b1).buffer(-NAME_ROOM_MM)
    for section in plan.sections["pm"]:
        free = section.polygon.intersection(seen).difference(taken)
        if free.is_empty:
            continue
        centre = section.polygon.centroid
        point = centre if free.contains(centre) else free.representative_point()
        a, b = float(point.x), float(point.y)
        axes.text(
            a,
            b,
            texts.short_names["pm"],
            color=LOOKS["pm"].outline,
            fontsize=7,
            weight="bold",
            ha="center",
            va="center",
            path_effects=halo(),
            gid="name",
        )


def draw_plane(axes: Axes, plan: Plan) -> None:
    """Draw outlines and corridor of the mid-disc plane."""
    draw_outlines(axes, plan.sections, SHOWN, 1.25)
    if plan.corridor is not None:
        draw_corridor(axes, plan.corridor)
