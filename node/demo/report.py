"""Tables at the end of the demonstration: measured and true values, times, reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from node.demo.scanner import Study
from node.observe.text import value_text
from node.observe.timeline import Timeline

NAMES: Final = ("OC", "DAA", "DIVC", "PI")
_SHORT: Final = {"segment.plausibility": "checks"}
_PADDING: Final = (0, 1, 0, 0)
"""Narrow, so that every table fits into 80 columns."""
STAGES: Final = ("complete", "select", "queue", "process", "deliver")


def true_value(study: Study, name: str) -> float | None:
    """Return the true value of a measurement in mm."""
    truth = study.truth["measurements"].get(name) or {}
    value = truth.get("value_mm")
    return None if value is None else float(value)


def _table(title: str, *headings: str, caption: str = "") -> Table:
    """Return a narrow table: unwrapped names to the left, numbers to the right."""
    table = Table(
        title=title,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=_PADDING,
        pad_edge=False,
    )
    table.add_column("patient", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _measured(value: Mapping[str, Any]) -> str:
    return "refused" if value["value_mm"] is None else value_text(value, uncertain=True)


def _level_off_mm(study: Study, result: Mapping[str, Any]) -> float:
    return math.dist(result["level"]["centre_mm"], study.truth["level"]["centre_lps"])


def measurements(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> Table:
    """Return two rows per patient: measured ± standard uncertainty, and the truth; in mm."""
    table = _table(
        "measured ± uncertainty, and the truth, in mm",
        *NAMES,
        "disc",
        caption="disc: distance of the measured centre from the true one",
    )
    for study, result in results:
        cells = [_measured(result["measurements"][name]) for name in NAMES]
        table.add_row(study.scenario.case, *cells, f"{_level_off_mm(study, result):.1f}")
        true = [true_value(study, name) for name in NAMES]
        table.add_row("  true", *("–" if t is None else f"{t:.1f}" for t in true), style="dim")
    return table


def refused(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> list[str]:
    """Return one sentence per patient and reason for which values were refused."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for study, result in results:
        for name, measured in result["measurements"].items():
            if measured["refusal"]:
                key = study.scenario.case, measured["refusal"]["text"]
                reasons.setdefault(key, []).append(name)
    return [
        f"{case}: {', '.join(names)} refused: {text}" for (case, text), names in reasons.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesTiming:
    """Times of one series.

    routed_s: from the last image that the PACS acknowledged to the last one that the node did.
    """

    study: Study
    timeline: Timeline
    routed_s: float


def times(timings: Sequence[SeriesTiming], *, with_pacs: bool) -> Table:
    """Return seconds per stage, from the last slice the node acknowledged to the last object stored."""
    caption = "routing: before that, from the last image the PACS acknowledged"
    table = _table(
        "seconds from the last slice the node acknowledged to the last object stored",
        *(["routing"] if with_pacs else []),
        *STAGES,
        "total",
        caption=caption if with_pacs else "",
    )
    for timing in timings:
        stages_s = timing.timeline.stages_s
        cells = [f"{stages_s[s]:.1f}" if s in stages_s else "–" for s in STAGES]
        routing = [f"{timing.routed_s:.1f}"] if with_pacs else []
        total_s = timing.timeline.total_s
        total = "–" if total_s is None else f"{total_s:.1f}"
        table.add_row(timing.study.scenario.case, *routing, *cells, total)
    return table


def inside(timings: Sequence[SeriesTiming]) -> Table:
    """Return the parts of *process* in seconds; a part that has parts is shown by them."""
    every = dict.fromkeys(name for timing in timings for name in timing.timeline.inside_s)
    parents = {name.rsplit(".", 1)[0] for name in every if "." in name}
    names = [name for name in every if name not in parents]
    headings = [_SHORT.get(name, name.rsplit(".", 1)[-1]) for name in names]
    table = _table("process, in parts", *headings, "rest", caption="rest: draw, encode and write")
    for timing in timings:
        parts_s = timing.timeline.inside_s
        cells = [f"{parts_s[n]:.1f}" if n in parts_s else "–" for n in names]
        known_s = sum(parts_s.get(n, 0.0) for n in names)
        rest_s = timing.timeline.stages_s.get("process", 0.0) - known_s
        table.add_row(timing.study.scenario.case, *cells, f"{max(0.0, rest_s):.1f}")
    return table


def not_processed(rows: Sequence[tuple[str, str, str, str]]) -> Table:
    """Return the series without a result: patient, series, state, reason."""
    table = Table(
        title="no result, and why",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=_PADDING,
        pad_edge=False,
    )
    for heading in ("series", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why", overflow="fold")
    patient = ""
    for case, series, state, reason in rows:
        if case != patient:
            patient = case
            table.add_row(case, style="bold")
        table.add_row(f"  {series}", state, reason)
    return table
