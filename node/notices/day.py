"""Numbers of the last 24 hours, from the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from node.journal.figures import Figures
from node.journal.journal import Journal
from node.journal.states import DeliveryEvent, SeriesEvent, SeriesState
from node.notices.conditions import Recent
from node.notices.text import Day

DAY_S: Final = 86_400.0
_SERIES: Final[Mapping[str, str]] = {
    SeriesEvent.GEOMETRY_COMPLETE: "complete",
    SeriesEvent.SETTLED_INELIGIBLE: "complete",
    SeriesEvent.WENT_QUIET: "incomplete",
    SeriesEvent.RULES_ACCEPT: "selected",
    SeriesEvent.RULES_REJECT: "skipped",
    SeriesEvent.NOT_IN_VIEW: "skipped",
    SeriesEvent.RESULTS_PUBLISHED: "processed",
    SeriesEvent.REFUSED: "failed",
    SeriesEvent.CRASHED_OUT: "failed",
    SeriesEvent.ALL_CONFIRMED: "delivered",
}
_DELIVERIES: Final[Mapping[str, str]] = {
    DeliveryEvent.PROOF_FOUND: "verified",
    DeliveryEvent.NO_PROOF_OFFERED: "sent without a proof",
    DeliveryEvent.TRANSIENT_FAILURE: "failed tries",
    DeliveryEvent.PERMANENT_FAILURE: "refused",
    DeliveryEvent.PATIENCE_EXHAUSTED: "given up",
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


def _named(events: dict[str, int], names: Mapping[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for event, number in events.items():
        if event in names:
            counts[names[event]] += number
    return counts
