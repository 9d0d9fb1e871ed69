"""What the demonstration prints at its end: measured beside true, times, and why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from node.demo.scanner import Study
from node.explain import Timeline

NAMES: Final = ("OC", "DAA", "DIVC", "PI")
STAGES: Final = ("complete", "select", "queue", "process", "deliver")


def read_result(folder: Path) -> dict[str, Any]:
    """`result.json` of a result folder."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def true_value(study: Study, name: str) -> float | None:
    """Return the true value of a measurement in mm."""
    told = study.truth["measurements"].get(name) or {}
    value = told.get("value_mm")
    return None if value is None else float(value)


def _cell(measured: Mapping[str, Any], true: float | None) -> str:
    truth = "–" if true is None else f"{true:.1f}"
    if measured["value_mm"] is None:
        return f"refused ({measured['refusal']['code']}) | {truth}"
    return f"{measured['value_mm']:.1f} ± {measured['uncertainty_mm'] or 0:.1f} | {truth}"


def measurements(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> Table:
    """One row per patient: measured ± standard uncertainty | true, in mm."""
    table = Table(title="measured ± uncertainty | true, mm", title_justify="left")
    for heading in ("patient", "what is special", *NAMES, "level"):
        table.add_column(heading)
    for study, result in results:
        cells = [_cell(result["measurements"][n], true_value(study, n)) for n in NAMES]
        level = f"{result['level']['confidence']:.2f}"
        table.add_row(study.role.case, study.role.title, *cells, level)
    return table


def refused(results: Sequence[tuple[Study, Mapping[str, Any]]]) -> list[str]:
    """One sentence per value that was refused."""
    return [
        f"{study.role.case} {name}: {m['refusal']['text']}"
        for study, result in results
        for name, m in result["measurements"].items()
        if m["refusal"]
    ]


def times(rows: Sequence[tuple[Study, Timeline]]) -> Table:
    """Seconds from the last slice the node acknowledged to the last object stored at the destination."""
    title = "seconds from the last acknowledged slice to the last object stored"
    table = Table(title=title, title_justify="left")
    for heading in ("patient", *STAGES, "total"):
        table.add_column(heading, justify="left" if heading == "patient" else "right")
    for study, line in rows:
        cells = [f"{line.stages_s[s]:.1f}" if s in line.stages_s else "–" for s in STAGES]
        total = "–" if line.total_s is None else f"{line.total_s:.1f}"
        table.add_row(study.role.case, *cells, total)
    return table


def inside(rows: Sequence[tuple[Study, Timeline]]) -> Table:
    """Parts of *process* in seconds."""
    names = list(dict.fromkeys(n for _, line in rows for n in line.inside_s))
    table = Table(title="inside process, seconds", title_justify="left")
    for heading in ("patient", *names):
        table.add_column(heading, justify="left" if heading == "patient" else "right")
    for study, line in rows:
        cells = [f"{line.inside_s[n]:.2f}" if n in line.inside_s else "–" for n in names]
        table.add_row(study.role.case, *cells)
    return table


def not_processed(rows: Sequence[tuple[str, str, str, str]]) -> Table:
    """Series without a result: patient, series, state, reason."""
    table = Table(title="not processed, and why", title_justify="left")
    for heading in ("patient", "series", "state", "why"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
