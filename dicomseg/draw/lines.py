"""The measured lines of panel A, their labels, and what was not measured."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from shapely.geometry import LineString, Polygon

from dicomseg.draw.labels import place_labels
from dicomseg.draw.looks import NIGHT, RED, VALUES
from dicomseg.draw.plan import Plan
from dicomseg.draw.sheet import Sheet, halo
from dicomseg.draw.texts import Texts
from dicomseg.draw.wording import refusal_text, value_text
from dicomseg.measure.plane import to_plane
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import Measurements

LABEL_PT: Final = 7.4


_LABEL_PAD: Final = 1.25
"""Millimetres on paper around a label's text."""


_REFUSED_PT: Final = 7.0
_REFUSED_WIDTH: Final = 0.66
"""Share of the picture: between the letters and left of the ruler; bold type is wider by a tenth."""
_REFUSED_BOTTOM: Final = 0.075
_REFUSED_STEP: Final = 0.022
_REFUSED_LINE: Final = 0.031
"""Shares of the picture's height: between two refusals, and per line."""


def draw_lines(
    sheet: Sheet, axes: Axes, plan: Plan, measurements: Measurements, texts: Texts
) -> list[Polygon]:
    """Draw the measured lines, each with a label beside it that names it and states its value; returns the labels."""
    lines = {
        name: to_plane(plan.plane, np.array(points))
        for name in MAIN_MEASUREMENTS
        if (points := measurements.main[name].points_lps) is not None
    }
    for name, ends in lines.items():
        stroke: dict[str, Any] = {"color": VALUES[name], "zorder": 6}
        axes.plot(*ends.T, lw=1.7, solid_capstyle="butt", path_effects=halo(3.2), **stroke)
        axes.plot(*ends.T, "o", ms=2.6, mec=NIGHT, mew=0.5, **stroke)
    labels = {name: f"{name}  {value_text(measurements.main[name], texts)}" for name in lines}
    a0, a1 = axes.get_xlim()
    b1, b0 = axes.get_ylim()
    mm_per_mm = (a1 - a0) / _width_mm(sheet, axes)
    sizes = {name: _label_size(sheet, text, mm_per_mm) for name, text in labels.items()}
    shapes: list[Any] = [s.polygon for k in ("aa", "ivc", "ivd") for s in plan.sections[k]]
    if plan.corridor is not None:
        shapes += [plan.corridor.shape, LineString(plan.corridor.arrow_ab)]
    placed = place_labels(lines, sizes, (a0, b0, a1, b1), shapes)
    for name in lines:
        _draw_label(axes, labels[name], VALUES[name], placed[name].box, placed[name].leader)
    return [label.box for label in placed.values()]


def _width_mm(sheet: Sheet, axes: Axes) -> float:
    return float(axes.get_position().width * sheet.figure.get_figwidth() * 25.4)


def _label_size(sheet: Sheet, text: str, mm_per_mm: float) -> tuple[float, float]:
    probe = sheet.text(0, 0, text, LABEL_PT, weight="bold")
    width = sheet.width_of(probe)
    probe.remove()
    return (width + 2 * _LABEL_PAD) * mm_per_mm, (2.1 + 2 * _LABEL_PAD) * mm_per_mm


def _draw_label(axes: Axes, text: str, colour: str, label: Polygon, leader: Any) -> None:
    a0, b0, a1, b1 = label.bounds
    axes.plot(*np.array(leader.coords).T, color=colour, lw=0.9, path_effects=halo(1.9), zorder=8)
    axes.add_patch(
        FancyBboxPatch(
            (a0 + 0.4, b0 + 0.4),
            a1 - a0 - 0.8,
            b1 - b0 - 0.8,
            boxstyle="round,pad=0.4",
            facecolor=colour,
            edgecolor=NIGHT,
            linewidth=0.5,
            zorder=9,
        )
    )
    axes.text(
        (a0 + a1) / 2,
        (b0 + b1) / 2,
        text,
        fontsize=LABEL_PT,
        weight="bold",
        color=NIGHT,
        ha="center",
        va="center_baseline",
        zorder=10,
        gid="label",
    )


def draw_refusals(sheet: Sheet, axes: Axes, measurements: Measurements, texts: Texts) -> list[Text]:
    """Write what was not measured and why, at the bottom of the picture; equal reasons share a line."""
    reasons: dict[str, list[str]] = {}
    for name in MAIN_MEASUREMENTS:
        refusal = measurements.main[name].refusal
        if refusal is not None:
            reasons.setdefault(refusal_text(refusal, texts), []).append(name)
    written: list[Text] = []
    room, y = _REFUSED_WIDTH * _width_mm(sheet, axes), _REFUSED_BOTTOM
    for reason, names in reversed(reasons.items()):
        text = texts.refused_label.format(name=", ".join(names), reason=reason)
        lines = sheet.wrapped(text, _REFUSED_PT, room)
        written.append(
            axes.text(
                0.5,
                y,
                "\n".join(lines),
                transform=axes.transAxes,
                ha="center",
                va="bottom",
                fontsize=_REFUSED_PT,
                color="white",
                weight="bold",
                bbox={"boxstyle": "round,pad=0.3", "facecolor": RED, "edgecolor": "none"},
                zorder=11,
            )
        )
        y += _REFUSED_STEP + _REFUSED_LINE * len(lines)
    return written
