"""Pulls for people and programs: what was fetched of a study, what is missing and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from node.clock import at_text
from node.journal.journal import Journal
from node.journal.pulls import PullRow, PullState

FAR: Final = 3
"""Tries after which a pull that still waits needs a person's look, although it is tried on."""


def pulls_json(journal: Journal, study: str) -> list[dict[str, Any]]:
    """Return the pulls of a study for programs."""
    return [pull_json(row) for row in journal.pulls.of_study(study)]


def pull_json(row: PullRow) -> dict[str, Any]:
    """Return one pull for programs. next_try: ISO 8601, None if it is not retried."""
    waits = row.state is PullState.WAITING
    return {
        "study": row.study,
        "source": row.source,
        "state": str(row.state),
        "by": f"rule {row.rule}" if row.rule else row.asked_by,
        "asked": at_text(row.asked_at),
        "found": row.found,
        "here_before": row.here,
        "pulled": row.pulled,
        "missing": row.missing,
        "series_left": row.series_left,
        "tries": row.tries,
        "next_try": at_text(row.try_at) if waits and row.try_at else None,
        "reason": row.reason,
    }


def pull_line(entry: Mapping[str, Any]) -> str:
    """Return one pull as a line for people."""
    counts = (
        f"{entry['pulled']} of {entry['found']} objects fetched, {entry['here_before']} were here"
    )
    missing = f", {entry['missing']} missing" if entry["missing"] else ""
    left = f", {entry['series_left']} series left out" if entry["series_left"] else ""
    when = f", next try {entry['next_try']}" if entry["next_try"] else ""
    because = f": {entry['reason']}" if entry["reason"] else ""
    known = f"; {counts}{missing}{left}" if entry["found"] or entry["series_left"] else ""
    return f"pull from {entry['source']} {entry['state']}{known}{when}{because}"


def needs_attention(row: PullRow) -> bool:
    """Return whether a person should look at a pull: it was given up, or tried in vain several times."""
    return row.state is PullState.FAILED or (row.state is PullState.WAITING and row.tries >= FAR)
