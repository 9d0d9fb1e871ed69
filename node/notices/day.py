"""Numbers of the last 24 hours, from the journal."""

from __future__ import annotations

from collections import Counter
from typing import Final

from node.journal.figures import Figures
from node.journal.journal import Journal
from node.journal.states import SeriesState
from node.notices.conditions import Recent
from node.notices.text import Day

DAY_S: Final = 86_400.0
_SERIES: Final = {
    "geometry_complete": "complete",
    "settled_ineligible": "complete",
    "went_quiet": "incomplete",
    "rules_accept": "selected",
    "rules_reject": "skipped",
    "not_in_view": "skipped",
    "results_published": "processed",
    "refused": "failed",
    "crashed_out": "failed",
    "all_confirmed": "delivered",
}
_DELIVERIES: Final = {
    "proof_found": "verified",
    "no_proof_offered": "sent without a proof",
    "transient_failure": "failed tries",
    "permanent_failure": "refused",
    "patience_exhausted": "given up",
}


def read_recent(journal: Journal, now: float) -> Recent:
    """Return what failed within a day; now: seconds since 1970."""
    since = now - DAY_S
    failed = Counter(
        row.reason for row in journal.series.in_states(SeriesState.FAILED) if row.state_at >= since
    )
    return Recent(failed, Figures(journal.database).quarantined_since(since))


def read_day(journal: Journal, now: float) -> Day:
    """Return the numbers of the digest; now: seconds since 1970."""
    figures = Figures(journal.database)
    senders = figures.received_since(now - DAY_S)
    events = figures.events_since(now - DAY_S)
    return Day(
        sum(senders.values()),
        {name or "an unknown sender": number for name, number in senders.items()},
        _named(events, _SERIES),
        _named(events, _DELIVERIES),
    )


def _named(events: dict[str, int], names: dict[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for event, number in events.items():
        if event in names:
            counts[names[event]] += number
    return counts
