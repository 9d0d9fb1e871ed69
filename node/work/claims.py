"""Claims that end without a result: the series is selected again, or failed."""

from __future__ import annotations

from node.errors import ClaimLost, IllegalTransition
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.journal.states import SeriesEvent


def release_claim(journal: Journal, row: SeriesRow, max_attempts: int, why: str) -> bool:
    """Return a claimed series to *selected*, or to *failed* after the last attempt; False if it moved on."""
    crashed_out = row.attempts >= max_attempts
    event = SeriesEvent.CRASHED_OUT if crashed_out else SeriesEvent.CLAIM_LOST
    return _released(journal, row, event, f"{why}, attempt {row.attempts} of {max_attempts}")


def return_claim(journal: Journal, row: SeriesRow, why: str) -> bool:
    """Return a claimed series to *selected* as if it had not been begun; False if it moved on."""
    return _released(journal, row, SeriesEvent.CLAIM_RETURNED, why)


def lost_before(journal: Journal, row: SeriesRow) -> list[str]:
    """Return why each earlier attempt of a claimed series was lost, oldest first."""
    lost = [e for e in journal.series.events(row.key) if e.event == SeriesEvent.CLAIM_LOST]
    return [str(e.detail.get("reason", "")) for e in lost[len(lost) - row.attempts + 1 :]]


def _released(journal: Journal, row: SeriesRow, event: SeriesEvent, why: str) -> bool:
    try:
        journal.series.advance(row.key, event, expect=row.token, detail={"reason": why})
    except (ClaimLost, IllegalTransition):
        return False
    return True
