"""Times of one series from stage to stage, read from its events and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.journal.journal import Journal
from node.journal.rows import RESULT, DeliveryRow, EventRow, SeriesKey, SeriesRow
from node.journal.states import (
    DeliveryEvent,
    SeriesEvent,
    SeriesState,
)
from node.store.results import read_result


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds of one series from stage to stage; a stage that has not ended is absent.

    stages_s: complete, select, queue, process, deliver, each from the end of the one before, the
    first from the last acknowledged slice. inside_s: parts of *process* from `result.json`.
    delivered_s: per destination, from the last acknowledged slice to the last object stored.
    total_s: the longest of these, None before the result is everywhere.
    """

    receive_s: float
    stages_s: Mapping[str, float]
    inside_s: Mapping[str, float]
    delivered_s: Mapping[str, float]
    total_s: float | None


_STAGE_ENDS: Final[Sequence[tuple[str, frozenset[str]]]] = (
    ("complete", frozenset({SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.SETTLED_INELIGIBLE})),
    ("select", frozenset({SeriesEvent.RULES_ACCEPT, SeriesEvent.RULES_REJECT})),
    ("queue", frozenset({SeriesEvent.CLAIMED})),
    (
        "process",
        frozenset({SeriesEvent.RESULTS_PUBLISHED, SeriesEvent.NOT_IN_VIEW, SeriesEvent.REFUSED}),
    ),
)


def timeline(journal: Journal, key: SeriesKey) -> Timeline:
    """Time the last processing of a series, from its slices to its deliveries.

    Raises:
        UnknownUid: the journal has no such series.
    """
    row = journal.series.get(key)
    events = _since_reception(journal.series.events(key))
    stages: dict[str, float] = {}
    last = row.last_at
    for name, ends in _STAGE_ENDS:
        # The latest: a series that lost its worker was claimed more than once.
        end = max((e.at for e in events if e.delivery_id is None and e.event in ends), default=None)
        if end is not None:
            stages[name] = max(0.0, end - last)
            last = max(last, end)
    delivered = _delivered(journal.deliveries.of_series(key), events, row)
    if delivered:
        stages["deliver"] = max(0.0, row.last_at + max(delivered.values()) - last)
    finished = row.state is SeriesState.DELIVERED and bool(delivered)
    return Timeline(
        max(0.0, row.last_at - row.first_at),
        stages,
        _inside(journal, key),
        delivered,
        max(delivered.values()) if finished else None,
    )


def _since_reception(events: Sequence[EventRow]) -> list[EventRow]:
    """Return the events after the last that made the series receiving, by order: clocks are set back."""
    last = max((e.id for e in events if e.state == SeriesState.RECEIVING), default=0)
    return [e for e in events if e.id > last]


def _delivered(
    deliveries: Sequence[DeliveryRow], events: Sequence[EventRow], row: SeriesRow
) -> dict[str, float]:
    names = {d.id: d.destination for d in deliveries if d.kind == RESULT}
    return {
        names[e.delivery_id]: max(0.0, e.at - row.last_at)
        for e in events
        if e.delivery_id in names and e.event == DeliveryEvent.PEER_ACCEPTED
    }


def _inside(journal: Journal, key: SeriesKey) -> dict[str, float]:
    results = journal.results.of_series(key)
    if not results:
        return {}
    timings = read_result(results[-1].folder).get("timings_s")
    if not isinstance(timings, dict):
        return {}
    return {name: float(s) for name, s in timings.items() if isinstance(s, int | float)}


def timeline_json(times: Timeline) -> dict[str, Any]:
    """Return a timeline for programs, in seconds."""
    return {
        "receive_s": round(times.receive_s, 3),
        "stages_s": {k: round(v, 3) for k, v in times.stages_s.items()},
        "inside_s": {k: round(v, 3) for k, v in times.inside_s.items()},
        "delivered_s": {k: round(v, 3) for k, v in times.delivered_s.items()},
        "total_s": None if times.total_s is None else round(times.total_s, 3),
    }
