"""Plots of an evaluation, as the paper's Figures 5 to 7: Bland–Altman, scatter and box plots.

Figures are made without pyplot, so that no window system and no global state is involved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from training.evaluate.agreement import MeasurementAgreement, agreement
from training.evaluate.case_results import CaseResult
from training.evaluate.paper_values import TABLE2, TABLE3
from training.report.tables import SHORT

INK: Final = "#24292f"
SOFT: Final = "#8c959f"
FILL: Final = "#0969da"
OTHER: Final = "#bc4c00"
NAMES: Final[Mapping[MeasurementName, str]] = {
    "OC": "OC, left psoas to artery",
    "DAA": "DAA, diameter of the artery",
    "DIVC": "DIVC, diameter of the vein",
    "PI": "PI, right psoas to vein",
}
MIN_PAIRS_FOR_INTERVALS: Final = 10
"""Pairs below which the intervals are so wide that they would hide the points."""
_COLOURS: Final = {"physical": FILL, "randomised": OTHER, "": FILL}


def hex_colour(name: StructureId) -> str:
    """Return the colour of a structure as viewers show it, e.g. ``#c07040``."""
    return "#" + "".join(f"{v:02x}" for v in BY_ID[name].rgb)


def paired_values(
    cases: Sequence[CaseResult], name: MeasurementName
) -> tuple[list[float], list[float], list[str]]:
    """Return automatic and reference values of the cases that have both, mm, and their kind of contrast."""
    automatic, reference, kinds = [], [], []
    for case in cases:
        pair = case.measurements.get(name)
        if pair is None or pair.automatic_mm is None or pair.reference_mm is None:
            continue
        automatic.append(pair.automatic_mm)
        reference.append(pair.reference_mm)
        kinds.append(case.contrast)
    return automatic, reference, kinds


def _panels() -> tuple[Figure, dict[MeasurementName, Axes]]:
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes: Any = figure.subplots(2, 2)
    named = dict(zip(MAIN_MEASUREMENTS, axes.ravel(), strict=True))
    for name, ax in named.items():
        ax.set_title(NAMES[name], loc="left", fontsize=11, color=INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK, labelsize=9)
    return figure, named


def _dots(ax: Axes, x: Sequence[float], y: Sequence[float], kinds: Sequence[str]) -> None:
    for kind in sorted(set(kinds)):
        at = [n for n, k in enumerate(kinds) if k == kind]
        label = f"{kind} contrast" if kind else None
        ax.scatter([x[n] for n in at], [y[n] for n in at], s=24, alpha=0.75, lw=0, color=_COLOURS[kind], label=label)  # fmt: skip
    if len(set(kinds)) > 1:
        ax.legend(fontsize=8, frameon=False, loc="best")


def bland_altman(cases: Sequence[CaseResult]) -> Figure:
    """Plot difference against mean, bias and limits with their 95 % intervals; the paper's limits dotted."""
    figure, axes = _panels()
    for name, ax in axes.items():
        automatic, reference, kinds = paired_values(cases, name)
        statistics = agreement(automatic, reference)
        ax.axhline(0, color=SOFT, lw=0.8)
        for limit in TABLE3[name].limits:
            ax.axhline(limit, color=SOFT, ls=":", lw=1.2)
        if statistics is not None:
            mean = [(a + r) / 2 for a, r in zip(automatic, reference, strict=True)]
            _dots(ax, mean, [a - r for a, r in zip(automatic, reference, strict=True)], kinds)
            _limits(ax, statistics)
        ax.set_xlabel("mean of automatic and reference, mm", fontsize=9)
        ax.set_ylabel("automatic − reference, mm", fontsize=9)
    figure.suptitle("Bland–Altman (dotted: the paper's limits of agreement)", x=0.01, ha="left")
    return figure


def _limits(ax: Axes, statistics: MeasurementAgreement) -> None:
    lines = [(statistics.bias, statistics.bias_ci, f"bias {statistics.bias:+.2f}")]
    if statistics.limits is not None:
        lines += [
            (statistics.limits[0], statistics.lower_ci, f"{statistics.limits[0]:+.2f}"),
            (statistics.limits[1], statistics.upper_ci, f"{statistics.limits[1]:+.2f}"),
        ]
    for n, (value, interval, text) in enumerate(lines):
        ax.axhline(value, color=INK, lw=1.2, ls="-" if n == 0 else "--")
        if interval is not None and statistics.n >= MIN_PAIRS_FOR_INTERVALS:
            ax.axhspan(*interval, color=FILL, alpha=0.08, lw=0)
        ax.annotate(text, (1, value), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=8)  # fmt: skip


def scatter(cases: Sequence[CaseResult]) -> Figure:
    """Plot automatic against reference with the line of identity, R and n; the paper's R beside."""
    figure, axes = _panels()
    for name, ax in axes.items():
        automatic, reference, kinds = paired_values(cases, name)
        statistics = agreement(automatic, reference)
        top = max([*automatic, *reference, 1.0]) * 1.08
        ax.plot([0, top], [0, top], color=SOFT, lw=1)
        ax.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal")
        text = f"paper: R {TABLE3[name].pearson_r:.3f}, n 50"
        if statistics is not None:
            _dots(ax, reference, automatic, kinds)
            r = "–" if statistics.pearson_r is None else f"{statistics.pearson_r:.3f}"
            text = f"R {r}, MAE {statistics.error.mean:.2f} mm, n {statistics.n}\n{text}, MAE {TABLE3[name].error[0]:.2f}"
        ax.annotate(text, (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=9, color=INK)
        ax.set_xlabel("reference, mm", fontsize=9)
        ax.set_ylabel("automatic, mm", fontsize=9)
    figure.suptitle("Automatic against reference", x=0.01, ha="left")
    return figure


def value_boxes(cases: Sequence[CaseResult]) -> Figure:
    """Plot automatic and reference values side by side; the paper's mean ± SD in grey."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    ax: Axes = figure.subplots()
    for n, name in enumerate(MAIN_MEASUREMENTS):
        automatic, reference, _ = paired_values(cases, name)
        paper = TABLE3[name]
        sides = ((automatic, FILL, paper.automatic, -0.18), (reference, OTHER, paper.reference, 0.18))  # fmt: skip
        for values, colour, theirs, shift in sides:
            _box(ax, n + shift, values, colour, 0.28)
            ax.errorbar(n + shift + 0.16 * np.sign(shift), theirs[0], theirs[1], fmt="D", ms=4, color=SOFT, lw=1)  # fmt: skip
    ax.set_xticks(range(len(MAIN_MEASUREMENTS)), MAIN_MEASUREMENTS)
    ax.set_ylabel("mm")
    ax.spines[["top", "right"]].set_visible(False)
    _legend(ax, {"automatic": FILL, "reference": OTHER, "paper, mean ± SD": SOFT})
    return figure


def _box(ax: Axes, at: float, values: Sequence[float], colour: str, width: float) -> None:
    if not values:
        return
    ax.boxplot(
        [list(values)],
        positions=[at],
        widths=width,
        patch_artist=True,
        manage_ticks=False,
        showfliers=False,
        boxprops={"facecolor": colour, "alpha": 0.25, "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )
    jitter = np.random.default_rng(0).uniform(-width / 4, width / 4, len(values))
    ax.scatter(at + jitter, values, s=10, color=colour, alpha=0.7, lw=0)


def _legend(ax: Axes, colours: Mapping[str, str]) -> None:
    for label, colour in colours.items():
        ax.scatter([], [], color=colour, label=label, marker="s")
    ax.legend(fontsize=8, frameon=False, ncols=len(colours), loc="lower right", bbox_to_anchor=(1, 1))  # fmt: skip


def dice_boxes(cases: Sequence[CaseResult]) -> Figure:
    """Plot Dice per structure with every case as a dot; the paper's test row as a line, baselines as ticks."""
    names = [s.id for s in STRUCTURES if any(s.id in c.scores for c in cases)]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    ax: Axes = figure.subplots()
    for n, name in enumerate(names):
        _box(ax, n, [c.scores[name].dice for c in cases if name in c.scores], hex_colour(name), 0.5)
        ax.hlines(TABLE2["dice"]["test"].by_structure[name], n - 0.38, n + 0.38, color=INK, lw=1.2, ls=":")  # fmt: skip
        for baseline, marker in (("mean_shape", "_"), ("threshold", "|")):
            baseline_dice = [c.baselines[b][name] for c in cases for b in c.baselines if b == baseline and name in c.baselines[b]]  # fmt: skip
            if baseline_dice:
                ax.scatter(n + 0.36, np.mean(baseline_dice), marker=marker, s=70, color=SOFT)
    ax.set_xticks(range(len(names)), [SHORT[n] for n in names])
    ax.set(ylim=(-0.02, 1.02), ylabel="Dice")
    ax.axhline(0.85, color=SOFT, lw=0.5)
    ax.axhline(0.90, color=SOFT, lw=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("dotted: the paper's test mean; grey: mean shape (–) and threshold (|); lines at 0.85 and 0.90", loc="left", fontsize=9)  # fmt: skip
    return figure
