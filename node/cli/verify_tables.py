"""What `verify` shows: tool × object as a table, the findings as lines, and both as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from node.cli.tables import Table
from node.verify.report import Answer, FolderReport, Report
from node.verify.run import OWN

NAME_LENGTH: Final = 14
"""Characters of an object's name in the table, which is 80 columns wide."""


def columns(report: Report) -> list[str]:
    """Return the columns of the table: tools of which a program is installed, our own checks last."""
    used = dict.fromkeys(t.tool for t in report.tools if not t.remedy)
    return [*used, OWN]


def folder_table(report: Report, folder: FolderReport) -> Table:
    """Return tool × object of one folder; 80 columns wide."""
    tools = columns(report)
    rows = [
        (_short(name), *(_cell(folder.answer(tool, name)) for tool in tools))
        for name in folder.names
    ]
    return Table(("object", *tools), rows, folding=0)


def _short(name: str) -> str:
    """Return an object's name without its suffix; of a long name the end."""
    name = name.removesuffix(".dcm")
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def _cell(answer: Answer | None) -> str:
    """Return the worst of an answer and how often."""
    if answer is None:
        return "-"
    errors, warnings, known = (answer.count(s) for s in ("error", "warning", "known"))
    if errors:
        return "1 error" if errors == 1 else f"{errors} errors"
    if warnings:
        return f"{warnings} warn."
    return f"{known} known" if known else "ok"


def finding_lines(folder: FolderReport) -> Iterator[str]:
    """Yield one line per finding; the known ones once for all objects, with their reason."""
    found: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for answer in folder.answers:
        for f in answer.findings:
            text = f.reason if f.severity == "known" else f.text
            found.setdefault((f.severity, answer.tool, text), []).append((answer.name, f.count))
    for severity in ("error", "warning", "known"):
        for (kind, tool, text), places in found.items():
            if kind == severity:
                yield _finding_line(severity, tool, text, places)
    if all(answer.tool != OWN for answer in folder.answers):
        yield "own checks were left out: the folder has no result.json"


def _finding_line(severity: str, tool: str, text: str, places: Sequence[tuple[str, int]]) -> str:
    """Return the line of one finding. places: objects that have it, and how often."""
    count = sum(n for _, n in places)
    times = "" if count == 1 else f" ({count} times)"
    if severity == "known":
        return f"known: {tool}: {text}{times}"
    more = "" if len(places) == 1 else f" and {len(places) - 1} more"
    return f"{severity}: {places[0][0]}{more}: {tool}: {text}{times}"


def tool_lines(report: Report) -> Iterator[str]:
    """Yield which tools were not used and how they are installed, one line each."""
    absent: dict[tuple[str, str], list[str]] = {}
    for tool in report.tools:
        if tool.remedy:
            absent.setdefault((tool.tool, tool.remedy), []).append(tool.program)
    for (name, remedy), programs in absent.items():
        yield f"{name}: not installed ({', '.join(programs)}): {remedy}"


def report_json(report: Report) -> dict[str, Any]:
    """Return the report for `--json`."""
    totals = {s: report.count(s) for s in ("error", "warning", "known")}
    return {"total": totals, **asdict(report)}
