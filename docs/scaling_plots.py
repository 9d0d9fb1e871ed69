"""Plots of `docs/scaling.md`: studies a day by slots, age by studies a day, one day of one slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import scaling_times as t
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK, SOFT, GRID = "#24292f", "#6e7781", "#d8dee4"
COLOURS: Final = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700")
MARKS: Final = ("o", "s", "^", "D", "v")
_AGES: Final = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}


def _axes(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(which="major", color=GRID, linewidth=0.8)
    axes.tick_params(colors=SOFT, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
    return figure, axes


def _age_scale(axes: Axes, low: float, high: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    marks = [s for s in _AGES if low <= s <= high]
    axes.set_yticks(marks, [_AGES[s] for s in marks])
    axes.minorticks_off()


def _thousands(value: float, _place: object) -> str:
    return f"{value:,.0f}"


def _end(axes: Axes, across: Sequence[float], up: Sequence[float], text: str, colour: str) -> None:
    """Write the name of a line at its end instead of a legend."""
    axes.annotate(
        text, (across[-1], up[-1]), (6, 0), textcoords="offset points", color=colour, va="center", fontsize=9
    )  # fmt: skip


def by_slots(found: Mapping[str, Any]) -> Figure:
    """Draw the most studies a day against slots, with the lines at which receiving is full."""
    figure, axes = _axes(
        "Most studies a day with 99 of 100 within 10 min", "slots of two cores", "studies a day"
    )
    slots = found["curves"]["slots"]
    for number, (slot_s, most) in enumerate(found["curves"]["most"].items()):
        colour = COLOURS[number]
        axes.plot(slots, most, color=colour, marker=MARKS[number], linewidth=1.8)
        name = f"{float(slot_s):.1f} s a study" + (", today" if number == 0 else "")
        _end(axes, slots, most, name, colour)
    peak = 3600 * sum(t.HOURS) / max(t.HOURS)
    for seconds, name in (
        (found["receive_s"], f"receiving, {t.RECEIVE_RATE.value:g} objects/s"),
        ((t.SERIES_MB.value + t.OTHERS_MB.value) * 8 / 100, "network of 100 Mbit/s"),
    ):
        axes.axhline(peak / seconds, color=SOFT, linestyle="--", linewidth=1.2)
        axes.annotate(name, (1, peak / seconds), (0, 4), textcoords="offset points", color=SOFT, fontsize=9)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(slots, [str(n) for n in slots])
    axes.set_xlim(0.95, 13)
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    return figure


def by_load(found: Mapping[str, Any]) -> Figure:
    """Draw the 99th percentile of the age against studies a day, by setup."""
    figure, axes = _axes(
        f"Age that 99 of 100 studies do not exceed, {found['slow_slot_s']:.0f} s a study",
        "studies a day and slot",
        "99th percentile of the age",
    )
    names = {
        "0": "1 slot",
        "1": "1 slot, its worker dies every 6 h",
        "2": "1 slot, the box is away for 10 min every 6 h",
        "3": "4 slots",
        "8": "2 × 2 slots, a node is lost for 10 min every 6 h",
    }
    across = found["loads"]["per_day_and_slot"]
    for number, (place, p99) in enumerate(found["loads"]["p99"].items()):
        axes.plot(
            across, p99, color=COLOURS[number], marker=MARKS[number], linewidth=1.8, label=names[place]
        )  # fmt: skip
    axes.axhline(found["limit_s"], color=SOFT, linestyle=":", linewidth=1.4)
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.set_xlim(left=0)
    _age_scale(axes, 40, 10000)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def day(found: Mapping[str, Any]) -> Figure:
    """Draw the greatest age through one day of one slot, at three numbers of studies."""
    figure, axes = _axes(
        "One day, one slot: the line of the morning and what is left of it",
        "hour at which the study came",
        "greatest age",
    )
    most = found["setups"][0]["most"]
    hours = [0.1 * n for n in range(240)]
    for number, (share, top) in reversed(list(enumerate(found["trace"].items()))):
        label = f"{rounded_hundreds(float(share) * most):,} studies"
        axes.plot(hours, top, color=COLOURS[number], linewidth=1.4, label=label)
    axes.axhline(found["limit_s"], color=SOFT, linestyle=":", linewidth=1.4)
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 3))
    _age_scale(axes, 3, 12000)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def rounded_hundreds(value: float) -> int:
    """Return the number in hundreds."""
    return round(value / 100) * 100


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Write the three pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("scaling-slots", by_slots(found)),
        ("scaling-load", by_load(found)),
        ("scaling-day", day(found)),
    ):
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
