"""`list`, `why` and the timeline: what the journal knows, for people and programs.

Everything is read; nothing here writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from node.clock import at_text
from node.delivery_view import delivery_json, delivery_line, is_open
from node.journal import Journal
from node.records import RESULT, DeliveryRow, EventRow, ResultRow, SeriesKey, SeriesRow
from node.states import DeliveryEvent, DeliveryState, SeriesEvent, SeriesState

_NEXT: Final[Mapping[SeriesState, str]] = MappingProxyType(
    {
        SeriesState.RECEIVING: "waits for more slices, or for the series to settle",
        SeriesState.COMPLETE: "waits for the rules",
        SeriesState.INCOMPLETE: "send the missing slices; `lumbar-node retry UID` judges it as it is",
        SeriesState.SELECTED: "waits for a worker",
        SeriesState.PROCESSING: "a worker is at it",
        SeriesState.ENCODED: "has its result, which is on its way",
        SeriesState.DELIVERED: "done",
        SeriesState.SKIPPED: "nothing to do; `lumbar-node retry UID` after a change of the rules",
        SeriesState.FAILED: "see the reason; `lumbar-node retry UID` tries again",
    }
)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds of one series from stage to stage; a stage that has not happened is absent.

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
    """Time the last way of a series through the node. Raises `UnknownUid`."""
    row = journal.series(key)
    events = [e for e in journal.events_of(key) if e.at >= row.last_at]
    stages: dict[str, float] = {}
    last = row.last_at
    for name, ends in _STAGE_ENDS:
        # The latest: a series that lost its worker was claimed more than once.
        end = max((e.at for e in events if e.delivery_id is None and e.event in ends), default=None)
        if end is not None:
            stages[name] = max(0.0, end - last)
            last = max(last, end)
    delivered = _delivered(journal.deliveries_of(key), events, row)
    if delivered:
        stages["deliver"] = max(0.0, row.last_at + max(delivered.values()) - last)
    whole = row.state is SeriesState.DELIVERED and bool(delivered)
    return Timeline(
        row.last_at - row.first_at,
        stages,
        _inside(journal, key),
        delivered,
        max(delivered.values()) if whole else None,
    )


def _delivered(
    deliveries: Sequence[DeliveryRow], events: Sequence[EventRow], row: SeriesRow
) -> dict[str, float]:
    names = {d.id: d.destination for d in deliveries if d.kind == RESULT}
    return {
        names[e.delivery_id]: e.at - row.last_at
        for e in events
        if e.delivery_id in names and e.event == DeliveryEvent.PEER_ACCEPTED
    }


def _inside(journal: Journal, key: SeriesKey) -> dict[str, float]:
    results = journal.results_of(key)
    if not results:
        return {}
    found = read_result(results[-1].folder)
    return {name: float(s) for name, s in found.get("timings_s", {}).items()}


def read_result(folder: Path) -> dict[str, Any]:
    """`result.json` of a folder, {} when it is not there."""
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def timeline_json(times: Timeline) -> dict[str, Any]:
    """One timeline for programs; seconds."""
    return {
        "receive_s": round(times.receive_s, 3),
        "stages_s": {k: round(v, 3) for k, v in times.stages_s.items()},
        "inside_s": {k: round(v, 3) for k, v in times.inside_s.items()},
        "delivered_s": {k: round(v, 3) for k, v in times.delivered_s.items()},
        "total_s": None if times.total_s is None else round(times.total_s, 3),
    }


# ---- list and why --------------------------------------------------------------------------------


def series_json(row: SeriesRow) -> dict[str, Any]:
    """One row of `list --json`."""
    return {
        "study": row.key.study,
        "series": row.key.series,
        "state": str(row.state),
        "reason": row.reason,
        "instances": row.instances,
        "last_slice": at_text(row.last_at),
        "since": at_text(row.state_at),
    }


def why(journal: Journal, uid: str) -> list[dict[str, Any]]:
    """Everything about a study, series, instance or result. Raises `UnknownUid`."""
    return [_why(journal, row) for row in journal.find(uid)]


def _why(journal: Journal, row: SeriesRow) -> dict[str, Any]:
    return {
        **series_json(row),
        "next": _next(row, journal.deliveries_of(row.key)),
        "results": [_result_json(r) for r in journal.results_of(row.key)],
        "deliveries": [delivery_json(d) for d in journal.deliveries_of(row.key)],
        "timeline": timeline_json(timeline(journal, row.key)),
        "history": [_event_json(e) for e in _folded(journal.events_of(row.key))],
    }


def _result_json(row: ResultRow) -> dict[str, Any]:
    return {
        "result_id": row.result_id,
        "predecessor": read_result(row.folder).get("predecessor"),
        "superseded_by": row.superseded_by or None,
        "superseded_because": row.superseded_because or None,
        "folder": str(row.folder),
        "attempt": row.attempt,
    }


def _next(row: SeriesRow, deliveries: Sequence[DeliveryRow]) -> str:
    if row.state is SeriesState.ENCODED and not deliveries:
        return "has its result; no destination is configured"
    dead = [d.destination for d in deliveries if d.state is DeliveryState.DEAD and is_open(d)]
    if row.state is SeriesState.ENCODED and dead:
        return f"given up for {', '.join(dead)}; `lumbar-node retry UID` sends it again"
    return _NEXT[row.state]


def _folded(events: Sequence[EventRow]) -> list[EventRow]:
    """Leave out repeated slices: only the first of a run of `instance_stored` is told."""
    kept: list[EventRow] = []
    for event in events:
        again = kept and kept[-1].event == event.event == SeriesEvent.INSTANCE_STORED
        if not again:
            kept.append(event)
    return kept


def _event_json(event: EventRow) -> dict[str, Any]:
    return {
        "at": at_text(event.at),
        "event": event.event,
        "state": event.state,
        "detail": event.detail,
    }


def _result_line(told: Mapping[str, Any]) -> str:
    before = f", after {told['predecessor']}" if told["predecessor"] else ""
    because = (told["superseded_because"] or "").replace("_", " ")
    by = f" by {told['superseded_by']}" if told["superseded_by"] else ""
    superseded = f", superseded{by} ({because})" if because else ""
    return f"  result {told['result_id']}{before}{superseded} in {told['folder']}"


def why_lines(told: Mapping[str, Any]) -> list[str]:
    """One series of `why`, for people."""
    lines = [
        f"series {told['series']}",
        f"  study {told['study']}",
        f"  {told['state']} since {told['since']}: {told['reason'] or told['next']}",
        f"  {told['instances']} objects, the last at {told['last_slice']}",
    ]
    if told["reason"]:
        lines.append(f"  next: {told['next']}")
    lines += [_result_line(r) for r in told["results"]]
    lines += [f"  {delivery_line(d)}" for d in told["deliveries"]]
    stages = told["timeline"]["stages_s"]
    if stages:
        lines.append("  " + ", ".join(f"{name} {s:.1f} s" for name, s in stages.items()))
    for event in told["history"]:
        reason = event["detail"].get("reason") or event["detail"].get("destination") or ""
        lines.append(
            f"    {event['at']}  {event['event']:<20} {event['state']:<11} {reason}".rstrip()
        )
    return lines
