"""What the pages about training have in common: which job is asked for, tables and numbers as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dicomseg.structures import STRUCTURES
from node.console.console import Asked, Console
from node.errors import UnknownJob
from node.journal.job_rows import JobRow
from node.models.comparison import MeasurementRow, StructureRow

_LARGEST: Final = 2**63 - 1
FEWEST: Final = 5
"""Pairs below which a mean or median over them is as good as one patient's value."""


def job_of(console: Console, asked: Asked) -> JobRow:
    """Return the job that the address names. Raises `UnknownJob`."""
    number = int(asked.path["id"])
    if number > _LARGEST:
        raise UnknownJob(f"no job {number}")
    return console.journal.jobs.get(number)


def scores_table(rows: Sequence[StructureRow]) -> list[dict[str, str]]:
    """Return the gate's table as texts, with a word for the direction of each difference."""
    return [
        {
            "structure": structure_name(row.structure), "pairs": str(row.pairs), "in_service": figure(row.in_service),
            "candidate": figure(row.candidate), "difference": figure(row.difference, signed=True),
            "p": figure(row.p_worse), "way": _way(row.difference),
        }
        for row in rows
    ]  # fmt: skip


def measurements_table(rows: Sequence[MeasurementRow], *, fewest: int) -> list[dict[str, str]]:
    """Return the gate's table of measurements as texts; without rows of fewer pairs than `fewest`."""
    return [
        {
            "measurement": row.measurement, "pairs": str(row.pairs), "in_service": figure(row.in_service_mm, 2),
            "candidate": figure(row.candidate_mm, 2), "difference": figure(row.difference_mm, 2, signed=True),
            "p": figure(row.p_worse), "refused": f"{row.refused_in_service}, {row.refused_candidate} of {row.references}",
            "way": _way(None if row.difference_mm is None else -row.difference_mm),
        }
        for row in rows if row.pairs >= fewest
    ]  # fmt: skip


def structure_name(structure: str) -> str:
    """Return a structure's id with its label as viewers show it."""
    found = next((s for s in STRUCTURES if s.id == structure), None)
    return structure if found is None else f"{structure}, {found.label}"


def figure(value: float | None, decimals: int = 4, *, signed: bool = False) -> str:
    """Return a number as a text; a dash for None."""
    if value is None:
        return "–"
    return f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"


def _way(difference: float | None) -> str:
    if difference is None:
        return "not compared"
    return "better" if difference > 0 else "worse" if difference < 0 else "equal"
