"""What the commands show: rows for people as `rich` tables, and the same rows for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.result import MAIN_MEASUREMENTS
from node.observe.text import value_text
from node.offline.gather import Judged

if TYPE_CHECKING:  # `select` must not load the network's libraries
    from node.offline.run import Done, Sent

UID_COLUMN = "series UID"
"""Header of a column of UIDs: 64 characters, which leave no room for others on a screen of 80 columns."""

_COLOUR = {
    "eligible": "green",
    "written": "green",
    "already there": "green",
    "incomplete": "yellow",
    "refused": "red",
    "failed": "red",
}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Plain table; the last column and a column of UIDs fold where the screen is narrow."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for n, header in enumerate(headers):
        folds = n == len(headers) - 1 or header == UID_COLUMN
        made.add_column(header, overflow="fold", no_wrap=not folds)
    for row in rows:
        made.add_row(*row)
    return made


def coloured(word: str) -> str:
    """Give a verdict its colour, on a terminal."""
    return f"[{_COLOUR[word]}]{word}[/]" if word in _COLOUR else word


def judged_json(judged: Judged) -> dict[str, Any]:
    """One row of `select --json`."""
    first, grid = judged.candidate.first, judged.candidate.grid
    regular = None if isinstance(grid, GeometryProblem) else grid
    return {
        "study": judged.study,
        "series": judged.candidate.series,
        "series_number": first.series_number,
        "description": first.series_description,
        "objects": len(judged.candidate.instances),
        "orientation": regular.orientation if regular else None,
        "shape": list(regular.shape) if regular else None,
        "spacing_mm": list(regular.spacing_mm) if regular else None,
        "verdict": judged.status,
        "rule": judged.verdict.rule,
        "reasons": list(judged.verdict.reasons),
    }


def judged_table(judged: Sequence[Judged]) -> Table:
    """The table of `select`."""
    rows = []
    for one in judged:
        row = judged_json(one)
        number = "" if row["series_number"] is None else str(row["series_number"])
        rows.append(
            (
                f"…{one.study[-8:]}",
                number,
                row["description"][:28],
                str(row["objects"]),
                row["orientation"] or "",
                coloured(one.status),
                "; ".join(one.verdict.reasons),
            )
        )
    return table(("study", "no.", "series", "objects", "plane", "verdict", "reasons"), rows)


def done_json(done: Done) -> dict[str, Any]:
    """One row of `process --json`."""
    return {
        "study": done.study,
        "series": done.series,
        "did": done.did,
        "text": done.text,
        "folder": str(done.folder) if done.folder else None,
        "result_id": done.result.get("result_id"),
        "measurements": {
            name: m["value_mm"] for name, m in done.result.get("measurements", {}).items()
        },
        "seconds": round(done.seconds, 3),
    }


def done_table(rows: Sequence[Done]) -> Table:
    """The table of `process`: millimetres, or why there is no value."""
    shown = []
    for done in rows:
        measured = done.result.get("measurements", {})
        values = [value_text(measured[n]) if n in measured else "" for n in MAIN_MEASUREMENTS]
        told = str(done.folder) if done.folder else done.text
        seconds = f"{done.seconds:.1f} s" if done.folder else ""
        shown.append((done.name[:36], coloured(done.did), *values, seconds, told))
    heads = [f"{name} mm" for name in MAIN_MEASUREMENTS]
    return table(("series", "", *heads, "time", "folder or reason"), shown)


def refusals(rows: Sequence[Done]) -> list[str]:
    """Why a value of a result is absent, one line each."""
    return [
        f"{done.name}: no {name}: {m['refusal']['text']}"
        for done in rows
        for name, m in done.result.get("measurements", {}).items()
        if m.get("refusal")
    ]


def sent_json(sent: Sent) -> dict[str, Any]:
    """One row about sending, for `process --send --json`."""
    return {
        "destination": sent.destination,
        "folder": str(sent.folder),
        "accepted": sent.accepted,
        "proof": sent.proof,
        "objects": [
            {"file": o.file, "answer": o.answer, "status": o.status, "text": o.text}
            for o in sent.outcomes
        ],
    }


def sent_lines(sent: Sent) -> list[str]:
    """Lines about one result sent to one destination."""
    if sent.accepted:
        return [
            f"{sent.folder.name} → {sent.destination}: {len(sent.outcomes)} objects, proof {sent.proof}"
        ]
    bad = [o for o in sent.outcomes if o.answer != "accepted"]
    return [f"{sent.folder.name} → {sent.destination}: {o.file} {o.answer}, {o.text}" for o in bad]
