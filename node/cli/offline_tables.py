"""What `select` and `process` show: rows for people as tables, and the same rows as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.read.geometry_problem import GeometryProblem
from node.cli.tables import Table
from node.observe.text import value_text
from node.offline.gather import Judged

if TYPE_CHECKING:  # `select` must not load the network's libraries
    from node.offline.run import SentResult, SeriesOutcome


def judged_json(judged: Judged) -> dict[str, Any]:
    """Return one row of `select --json`."""
    instance, grid = judged.candidate.first, judged.candidate.grid
    regular = None if isinstance(grid, GeometryProblem) else grid
    return {
        "study": judged.study,
        "series": judged.candidate.series,
        "series_number": instance.series_number,
        "description": instance.series_description,
        "objects": len(judged.candidate.instances),
        "orientation": regular.orientation if regular else None,
        "shape": list(regular.shape) if regular else None,
        "spacing_mm": list(regular.spacing_mm) if regular else None,
        "verdict": judged.status,
        "rule": judged.verdict.rule,
        "reasons": list(judged.verdict.reasons),
    }


def judged_table(judged: Sequence[Judged]) -> Table:
    """Return the table of `select`."""
    rows = []
    for series in judged:
        row = judged_json(series)
        number = "" if row["series_number"] is None else str(row["series_number"])
        rows.append(
            (
                f"…{series.study[-8:]}",
                number,
                str(row["objects"]),
                row["orientation"] or "",
                series.status,
                row["description"],
                "; ".join(series.verdict.reasons),
            )
        )
    heads = ("study", "no.", "objects", "plane", "verdict", "series", "reasons")
    return Table(heads, rows, folding=2, coloured="verdict")


def outcome_json(row: SeriesOutcome) -> dict[str, Any]:
    """Return one row of `process --json`; measurements in mm."""
    return {
        "study": row.study,
        "series": row.series,
        "outcome": row.outcome,
        "text": row.text,
        "folder": str(row.folder) if row.folder else None,
        "result_id": row.result.get("result_id"),
        "measurements": {
            name: m["value_mm"] for name, m in row.result.get("measurements", {}).items()
        },
        "seconds": round(row.seconds, 3),
    }


def outcome_table(rows: Sequence[SeriesOutcome]) -> Table:
    """Return the table of `process`: measurements in mm and the folder, or why there is none."""
    cells = []
    for row in rows:
        measured = row.result.get("measurements", {})
        values = [value_text(measured[n]) if n in measured else "" for n in MAIN_MEASUREMENTS]
        seconds = f"{row.seconds:.1f} s" if row.folder else ""
        where = str(row.folder) if row.folder else row.text
        cells.append((row.outcome, *values, seconds, row.name, where))
    heads = (
        "outcome",
        *(f"{n} mm" for n in MAIN_MEASUREMENTS),
        "time",
        "series",
        "folder or reason",
    )
    return Table(heads, cells, folding=2, coloured="outcome")


def refusal_lines(rows: Sequence[SeriesOutcome]) -> list[str]:
    """Return why a value of a result is absent, one line each."""
    return [
        f"{row.name}: no {name}: {m['refusal']['text']}"
        for row in rows
        for name, m in row.result.get("measurements", {}).items()
        if m.get("refusal")
    ]


def sent_json(sent: SentResult) -> dict[str, Any]:
    """Return one row about sending, for `process --send --json`."""
    return {
        "destination": sent.destination,
        "folder": str(sent.folder),
        "accepted": sent.accepted,
        "storage": sent.storage,
        "objects": [
            {"file": o.file, "answer": o.disposition, "status": o.status, "text": o.text}
            for o in sent.outcomes
        ],
    }


def sent_lines(sent: SentResult) -> list[str]:
    """Return lines about one result sent to one destination."""
    route = f"{sent.folder.name} → {sent.destination}"
    if sent.accepted:
        return [f"{route}: {len(sent.outcomes)} objects, {sent.storage}"]
    rejected = [o for o in sent.outcomes if o.disposition != "accepted"]
    return [f"{route}: {o.file} {o.disposition}, {o.text}" for o in rejected]
