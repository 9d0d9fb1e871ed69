"""`why`: what happened to a series and what happens next, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from node.clock import at_text
from node.journal.journal import Journal
from node.journal.rows import DeliveryRow, EventRow, InstanceRow, ResultRow, SeriesRow
from node.journal.states import (
    DeliveryState,
    InstanceState,
    SeriesEvent,
    SeriesState,
)
from node.observe.deliveries import delivery_json, delivery_line, is_open
from node.observe.links import viewer_link
from node.observe.pulls import pull_line, pulls_json
from node.observe.text import state_text
from node.observe.timeline import timeline, timeline_json
from node.store.results import read_result

_NEXT: Final[Mapping[SeriesState, str]] = MappingProxyType(
    {
        SeriesState.RECEIVING: "waiting for more slices, or for the series to settle",
        SeriesState.COMPLETE: "waiting for rule evaluation",
        SeriesState.INCOMPLETE: "send what the reason names, or `lumbar-node retry UID` to evaluate it as it is",
        SeriesState.SELECTED: "waiting for a worker",
        SeriesState.PROCESSING: "being processed by a worker",
        SeriesState.ENCODED: "result ready; delivery in progress",
        SeriesState.DELIVERED: "done",
        SeriesState.SKIPPED: "nothing to do; after a change of the rules, `lumbar-node retry UID`",
        SeriesState.FAILED: "failed; see the reason, then `lumbar-node retry UID`",
        SeriesState.QUARANTINED: "none of its objects can be used; see the reasons, correct and resend it",
        SeriesState.SUPERSEDED: "done; a correction moved its objects to another series",
        SeriesState.PURGED: "done; its files were removed, send it again to process it again",
    }
)


Unused = Mapping[tuple[InstanceState, str], int]
"""Number of quarantined and superseded objects of a series, by state and reason."""
MOST_REASONS: Final = 3
"""Reasons for unused objects that one row of `list` names; `why` names all."""


def series_json(row: SeriesRow, unused: Unused = MappingProxyType({})) -> dict[str, Any]:
    """Return one series for programs; `reason` is that of the series itself."""
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


def reason_text(row: Mapping[str, Any]) -> str:
    """Return the reason, the fault and the unused objects of a `series_json`; "" if there are none."""
    parts = [row["reason"]] if row["reason"] else []
    if row["fault"]:
        parts.append(_fault_text(row["fault"]))
    # The reason of the last object set aside is also that of the series.
    unused = [_unused_text(u) for u in row["unused"] if u["reason"] != row["reason"]]
    parts += unused[:MOST_REASONS]
    if len(unused) > MOST_REASONS:
        parts.append(f"{len(unused) - MOST_REASONS} more reasons")
    return "; ".join(parts)


def _fault_text(fault: Mapping[str, Any]) -> str:
    return f"{fault['step']} failed ({fault['tries']}): {fault['reason']}, next try {fault['next_try']}"


def _unused_text(unused: Mapping[str, Any]) -> str:
    return f"{unused['objects']} {unused['state']}: {unused['reason']}"


def why(journal: Journal, uid: str, viewer: str = "") -> list[dict[str, Any]]:
    """Explain every series of a study, a series, an instance or a result.

    viewer: template of the results' links, see `viewer_link`.

    Raises:
        UnknownUid: the journal has none of this UID.
    """
    named = journal.instances.named(uid)
    return [_why(journal, row, named, viewer) for row in journal.series.find(uid)]


def why_series(
    journal: Journal, rows: Sequence[SeriesRow], viewer: str = ""
) -> list[dict[str, Any]]:
    """Explain these series; viewer: as in `why`."""
    return [_why(journal, row, (), viewer) for row in rows]


def _why(
    journal: Journal, row: SeriesRow, named: Sequence[InstanceRow], viewer: str
) -> dict[str, Any]:
    unused = Counter((i.state, i.reason) for i in journal.instances.unused(row.key))
    return {
        **series_json(row, unused),
        "next": _next(row, journal.deliveries.of_series(row.key)),
        "objects": [_instance_json(i) for i in named if i.series == row.key],
        "results": [
            _result_json(r) | {"link": viewer_link(viewer, row.key.study, r.folder)}
            for r in journal.results.of_series(row.key)
        ],
        "deliveries": [delivery_json(d) for d in journal.deliveries.of_series(row.key)],
        "pulls": pulls_json(journal, row.key.study),
        "timeline": timeline_json(timeline(journal, row.key)),
        "history": _folded(journal.series.events(row.key)),
    }


def _instance_json(row: InstanceRow) -> dict[str, Any]:
    """Return one object that the query names by its UID."""
    return {
        "sop_instance": row.shown_uid,
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
        "purged": None if row.purged_at is None else at_text(row.purged_at),
        "attempt": row.attempt,
    }


def _next(row: SeriesRow, deliveries: Sequence[DeliveryRow]) -> str:
    if row.state is SeriesState.ENCODED and not deliveries:
        return "result ready; no destination is configured"
    dead = [d.destination for d in deliveries if d.state is DeliveryState.DEAD and is_open(d)]
    if row.state is SeriesState.ENCODED and dead:
        return f"delivery to {', '.join(dead)} failed permanently; `lumbar-node retry UID` sends it again"
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
"""Events that occur once per object."""


def _folded(events: Sequence[EventRow]) -> list[dict[str, Any]]:
    """Return the history; a run of equal events of objects is its first, with their number."""
    history: list[dict[str, Any]] = []
    for event in events:
        row = {
            "at": at_text(event.at), "event": event.event, "state": event.state, "objects": 1, "detail": event.detail,
        }  # fmt: skip
        if event.event in _OF_OBJECTS and history and _alike(history[-1], row):
            history[-1]["objects"] += 1
        else:
            history.append(row)
    return history


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(a["event"] == b["event"] and a["detail"].get("reason") == b["detail"].get("reason"))


def _result_lines(row: Mapping[str, Any]) -> list[str]:
    predecessor = f", after {row['predecessor']}" if row["predecessor"] else ""
    because = (row["superseded_because"] or "").replace("_", " ")
    by = f" by {row['superseded_by']}" if row["superseded_by"] else ""
    superseded = f", superseded{by} ({because})" if because else ""
    place = f", files removed {row['purged']}" if row["purged"] else f" in {row['folder']}"
    line = f"  result {row['result_id']}{predecessor}{superseded}{place}"
    return [line, f"    open: {row['link']}"] if row["link"] else [line]


def _event_line(row: Mapping[str, Any]) -> str:
    reason = row["detail"].get("reason") or row["detail"].get("destination") or ""
    times = f" × {row['objects']}" if row["objects"] > 1 else ""
    return f"    {row['at']}  {row['event'] + times:<20} {state_text(row['state']):<11} {reason}".rstrip()


def _object_line(row: Mapping[str, Any]) -> str:
    because = f": {row['reason']}" if row["reason"] else ""
    return f"  object {row['sop_instance'] or 'without a UID'} {row['digest'][:12]} {row['state']}{because}"


def why_lines(row: Mapping[str, Any]) -> list[str]:
    """Return one series of `why` as lines for people."""
    lines = [
        f"series {row['series'] or 'without a UID'}",
        f"  study {row['study'] or 'without a UID'}",
        f"  {row['state']} since {row['since']}: {row['reason'] or row['next']}",
        f"  {row['instances']} objects, the last at {row['last_slice']}",
    ]
    if row["fault"]:
        lines.append(f"  {_fault_text(row['fault'])}")
    lines += [f"  {_unused_text(u)}" for u in row["unused"]]
    lines += [_object_line(o) for o in row["objects"]]
    if row["reason"]:
        lines.append(f"  next: {row['next']}")
    for result in row["results"]:
        lines += _result_lines(result)
    lines += [f"  {delivery_line(d)}" for d in row["deliveries"]]
    lines += [f"  {pull_line(p)}" for p in row["pulls"]]
    stages = row["timeline"]["stages_s"]
    if stages:
        lines.append("  " + ", ".join(f"{name} {s:.1f} s" for name, s in stages.items()))
    return lines + [_event_line(e) for e in row["history"]]
