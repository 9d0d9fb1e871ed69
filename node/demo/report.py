"""What the demonstration prints at its end: measured beside true, times, and why not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from node.demo.scanner import Study
from node.observe.explain import Timeline
from node.observe.text import value_text

NAMES: Final = ("OC", "DAA", "DIVC", "PI")
_SHORT: Final = {"segment.plausibility": "checks"}
_PADDING: Final = (0, 1, 0, 0)
"""Narrow, so that every table fits into 80 columns."""
STAGES: Final = ("complete", "select", "queue", "process", "deliver")


def true_value(study: Study, name: str) -> float | None:
    """Return the true value of a measurement in mm."""
    told = study.truth["measurements"].get(name) or {}
    value = told.get("value_mm")
    return None if value is None else float(value)


def _table(title: str, *headings: str, caption: str = "") -> Table:
    """A narrow table: names to the left and whole, numbers to the right."""
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


def _measured(told: Mapping[str, Any]) -> str:
    return "refused" if told["value_mm"] is None else value_text(told, uncertain=True)


def _level_off_mm(study: Study, result: Mapping[str, Any]) -> float:
    return math.dist(result["level"]["centre_mm"], study.truth["level"]["centre_lps"])


def measurements(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> Table:
    """Two rows per patient: measured ± standard uncertainty, and the truth; in mm."""
    table = _table(
        "measured ± uncertainty, and the truth, in mm",
        *NAMES,
        "disc",
        caption="disc: from the centre that was found to the true one",
    )
    for study, result in results:
        cells = [_measured(result["measurements"][name]) for name in NAMES]
        table.add_row(study.role.case, *cells, f"{_level_off_mm(study, result):.1f}")
        true = [true_value(study, name) for name in NAMES]
        table.add_row("  true", *("–" if t is None else f"{t:.1f}" for t in true), style="dim")
    return table


def refused(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> list[str]:
    """One sentence per patient and reason for which values were refused."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for study, result in results:
        for name, measured in result["measurements"].items():
            if measured["refusal"]:
                key = study.role.case, measured["refusal"]["text"]
                reasons.setdefault(key, []).append(name)
    return [
        f"{case}: {', '.join(names)} refused: {text}" for (case, text), names in reasons.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How long one series took; routed_s: the scanner's last acknowledgement → the node's last."""

    study: Study
    line: Timeline
    routed_s: float


def times(ways: Sequence[Way], *, with_pacs: bool) -> Table:
    """Seconds from the last slice the node acknowledged to the last object stored, stage by stage."""
    caption = "routing: before that, from the last image the PACS acknowledged"
    table = _table(
        "seconds from the last slice the node acknowledged to the last object stored",
        *(["routing"] if with_pacs else []),
        *STAGES,
        "total",
        caption=caption if with_pacs else "",
    )
    for way in ways:
        line = way.line
        cells = [f"{line.stages_s[s]:.1f}" if s in line.stages_s else "–" for s in STAGES]
        routing = [f"{way.routed_s:.1f}"] if with_pacs else []
        total = "–" if line.total_s is None else f"{line.total_s:.1f}"
        table.add_row(way.study.role.case, *routing, *cells, total)
    return table


def inside(ways: Sequence[Way]) -> Table:
    """Parts of *process* in seconds; what has parts of its own is shown by its parts."""
    every = dict.fromkeys(name for way in ways for name in way.line.inside_s)
    parents = {name.rsplit(".", 1)[0] for name in every if "." in name}
    names = [name for name in every if name not in parents]
    headings = [_SHORT.get(name, name.rsplit(".", 1)[-1]) for name in names]
    table = _table("process, in parts", *headings, "rest", caption="rest: encode and write")
    for way in ways:
        told = way.line.inside_s
        cells = [f"{told[n]:.1f}" if n in told else "–" for n in names]
        rest_s = way.line.stages_s.get("process", 0.0) - sum(told.get(n, 0.0) for n in names)
        table.add_row(way.study.role.case, *cells, f"{max(0.0, rest_s):.1f}")
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
