"""`list`, `why` and the timeline: what the journal knows, for people and programs.

Everything is read; nothing here writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from node.clock import at_text
from node.journal.journal import Journal
from node.journal.rows import (
    RESULT,
    DeliveryRow,
    EventRow,
    InstanceRow,
    ResultRow,
    SeriesKey,
    SeriesRow,
)
from node.journal.states import (
    DeliveryEvent,
    DeliveryState,
    InstanceState,
    SeriesEvent,
    SeriesState,
)
from node.observe.deliveries import delivery_json, delivery_line, is_open
from node.store.results import read_result

_NEXT: Final[Mapping[SeriesState, str]] = MappingProxyType(
    {
        SeriesState.RECEIVING: "waits for more slices, or for the series to settle",
        SeriesState.COMPLETE: "waits for the rules",
        SeriesState.INCOMPLETE: "send what the reason names; `lumbar-node retry UID` judges it as it is",
        SeriesState.SELECTED: "waits for a worker",
        SeriesState.PROCESSING: "a worker is at it",
        SeriesState.ENCODED: "has its result, which is on its way",
        SeriesState.DELIVERED: "done",
        SeriesState.SKIPPED: "nothing to do; `lumbar-node retry UID` after a change of the rules",
        SeriesState.FAILED: "see the reason; `lumbar-node retry UID` tries again",
        SeriesState.QUARANTINED: "nothing of it can be used; see the reasons, and send it again in the right form",
        SeriesState.SUPERSEDED: "done; a correction took its objects into another series",
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
    row = journal.series.get(key)
    events = _since_it_came(journal.series.events(key))
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
    whole = row.state is SeriesState.DELIVERED and bool(delivered)
    return Timeline(
        max(0.0, row.last_at - row.first_at),
        stages,
        _inside(journal, key),
        delivered,
        max(delivered.values()) if whole else None,
    )


def _since_it_came(events: Sequence[EventRow]) -> list[EventRow]:
    """Events after the last one that made the series receiving: by their order, since clocks are set back."""
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
    told = read_result(results[-1].folder).get("timings_s")
    if not isinstance(told, dict):
        return {}
    return {name: float(s) for name, s in told.items() if isinstance(s, int | float)}


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


Unused = Mapping[tuple[InstanceState, str], int]
"""Number of quarantined and superseded objects of a series by state and reason."""
MOST_REASONS: Final = 3
"""Reasons for unused objects that one row of `list` names; `why` names all."""


def series_json(row: SeriesRow, unused: Unused = MappingProxyType({})) -> dict[str, Any]:
    """One row of `list --json`; `reason` is the series' own, `why` adds what else a person should know."""
    return {
        "study": row.key.study,
        "series": row.key.series,
        "state": str(row.state),
        "reason": row.reason,
        "instances": row.instances,
        "last_slice": at_text(row.last_at),
        "since": at_text(row.state_at),
        "fault": _fault_json(row) if row.fault else None,
        "unused": [
            {"state": str(state), "reason": reason, "objects": count}
            for (state, reason), count in unused.items()
        ],
    }


def _fault_json(row: SeriesRow) -> dict[str, Any]:
    return {
        "step": row.fault_step,
        "reason": row.fault,
        "tries": row.fault_tries,
        "next_try": at_text(row.try_at),
    }


def reason_text(told: Mapping[str, Any]) -> str:
    """Why a series of `series_json` is as it is: its reason, its fault, its unused objects; "" when all is well."""
    parts = [told["reason"]] if told["reason"] else []
    if told["fault"]:
        parts.append(_fault_text(told["fault"]))
    # The reason of the last object set aside is the series' own too.
    unused = [_unused_text(u) for u in told["unused"] if u["reason"] != told["reason"]]
    parts += unused[:MOST_REASONS]
    if len(unused) > MOST_REASONS:
        parts.append(f"{len(unused) - MOST_REASONS} more reasons")
    return "; ".join(parts)


def _fault_text(fault: Mapping[str, Any]) -> str:
    return f"{fault['step']} failed ({fault['tries']}): {fault['reason']}, next try {fault['next_try']}"


def _unused_text(unused: Mapping[str, Any]) -> str:
    return f"{unused['objects']} {unused['state']}: {unused['reason']}"


def list_rows(journal: Journal, state: str | None) -> list[dict[str, Any]]:
    """Rows of `list --json`: every series of which anything came.

    state: only series in this state; `quarantined` and `superseded` also give those with such objects.
    """
    unused = journal.instances.unused_counts()
    if state in {InstanceState.QUARANTINED, InstanceState.SUPERSEDED}:
        with_some = {k for k, counts in unused.items() if any(s == state for s, _ in counts)}
        rows = [r for r in journal.series.in_states() if r.state == state or r.key in with_some]
    else:
        rows = journal.series.in_states(*(() if state is None else (SeriesState(state),)))
    return [series_json(r, unused.get(r.key, {})) for r in rows]


def why(journal: Journal, uid: str) -> list[dict[str, Any]]:
    """Everything about a study, series, instance or result. Raises `UnknownUid`."""
    named = journal.instances.named(uid)
    return [_why(journal, row, named) for row in journal.series.find(uid)]


def _why(journal: Journal, row: SeriesRow, named: Sequence[InstanceRow]) -> dict[str, Any]:
    unused = Counter((i.state, i.reason) for i in journal.instances.unused(row.key))
    return {
        **series_json(row, unused),
        "next": _next(row, journal.deliveries.of_series(row.key)),
        "objects": [_instance_json(i) for i in named if i.series == row.key],
        "results": [_result_json(r) for r in journal.results.of_series(row.key)],
        "deliveries": [delivery_json(d) for d in journal.deliveries.of_series(row.key)],
        "timeline": timeline_json(timeline(journal, row.key)),
        "history": _folded(journal.series.events(row.key)),
    }


def _instance_json(row: InstanceRow) -> dict[str, Any]:
    """One object that was asked for by its UID."""
    return {
        "sop_instance": row.sop_instance_uid,
        "digest": row.digest,
        "state": str(row.state),
        "reason": row.reason,
        "superseded_by": row.superseded_by,
        "path": str(row.path),
        "received": at_text(row.received_at),
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


_OF_OBJECTS: Final = frozenset(
    {
        SeriesEvent.INSTANCE_STORED,
        SeriesEvent.INSTANCE_CORRECTED,
        SeriesEvent.INSTANCE_SUPERSEDED,
        SeriesEvent.INSTANCE_SET_ASIDE,
        "instance_quarantined",
    }
)
"""Events that come once per object."""


def _folded(events: Sequence[EventRow]) -> list[dict[str, Any]]:
    """History for programs: of a run of one event of objects, for one reason, the first is told, and how many."""
    kept: list[dict[str, Any]] = []
    for event in events:
        told = {
            "at": at_text(event.at), "event": event.event, "state": event.state, "objects": 1, "detail": event.detail,
        }  # fmt: skip
        if event.event in _OF_OBJECTS and kept and _alike(kept[-1], told):
            kept[-1]["objects"] += 1
        else:
            kept.append(told)
    return kept


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(a["event"] == b["event"] and a["detail"].get("reason") == b["detail"].get("reason"))


def _result_line(told: Mapping[str, Any]) -> str:
    before = f", after {told['predecessor']}" if told["predecessor"] else ""
    because = (told["superseded_because"] or "").replace("_", " ")
    by = f" by {told['superseded_by']}" if told["superseded_by"] else ""
    superseded = f", superseded{by} ({because})" if because else ""
    return f"  result {told['result_id']}{before}{superseded} in {told['folder']}"


def _event_line(told: Mapping[str, Any]) -> str:
    reason = told["detail"].get("reason") or told["detail"].get("destination") or ""
    times = f" × {told['objects']}" if told["objects"] > 1 else ""
    return f"    {told['at']}  {told['event'] + times:<20} {told['state']:<11} {reason}".rstrip()


def _object_line(told: Mapping[str, Any]) -> str:
    because = f": {told['reason']}" if told["reason"] else ""
    return f"  object {told['sop_instance']} {told['digest'][:12]} {told['state']}{because}"


def why_lines(told: Mapping[str, Any]) -> list[str]:
    """One series of `why`, for people."""
    lines = [
        f"series {told['series'] or 'without a UID'}",
        f"  study {told['study'] or 'without a UID'}",
        f"  {told['state']} since {told['since']}: {told['reason'] or told['next']}",
        f"  {told['instances']} objects, the last at {told['last_slice']}",
    ]
    if told["fault"]:
        lines.append(f"  {_fault_text(told['fault'])}")
    lines += [f"  {_unused_text(u)}" for u in told["unused"]]
    lines += [_object_line(o) for o in told["objects"]]
    if told["reason"]:
        lines.append(f"  next: {told['next']}")
    lines += [_result_line(r) for r in told["results"]]
    lines += [f"  {delivery_line(d)}" for d in told["deliveries"]]
    stages = told["timeline"]["stages_s"]
    if stages:
        lines.append("  " + ", ".join(f"{name} {s:.1f} s" for name, s in stages.items()))
    return lines + [_event_line(e) for e in told["history"]]
