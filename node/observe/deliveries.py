"""Deliveries as people and programs see them, one by one and by what is in their way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from node.clock import at_text
from node.journal.deliveries import SUPERSEDED
from node.journal.rows import RESULT, WITHDRAWAL, DeliveryRow
from node.journal.states import DeliveryState


def delivery_json(row: DeliveryRow) -> dict[str, Any]:
    """One delivery of `why --json`."""
    next_try = row.try_at if row.fault else row.next_try_at
    return {
        "result_id": row.result_id,
        "destination": row.destination,
        "kind": row.kind,
        "state": str(row.state),
        "proof": row.proof or None,
        "tries": row.tries,
        "next_try": at_text(next_try) if next_try and is_open(row) else None,
        "reason": row.fault or row.detail,
        "taken": list(row.accepted),
        "refused": dict(row.refused),
    }


def is_open(row: DeliveryRow) -> bool:
    """Whether it waits, is given up, or a fault is in its way; not when another result took its place."""
    stopped = row.state in {DeliveryState.WAITING, DeliveryState.DEAD} or bool(row.fault)
    replaced = row.detail == SUPERSEDED or (row.kind == RESULT and bool(row.because))
    return stopped and not replaced


def delivery_line(entry: Mapping[str, Any]) -> str:
    """One delivery of `why`, for people."""
    unproven = " (unproven)" if entry["proof"] == "unproven" else ""
    when = f", next try {entry['next_try']}" if entry["next_try"] else ""
    because = f": {entry['reason']}" if entry["reason"] else ""
    to = f"{entry['result_id'][:8]} {_arrow(entry)} {entry['destination']}"
    return f"{to} {entry['state']}{unproven}{when}{because}"


def attention(rows: Iterable[DeliveryRow]) -> list[dict[str, Any]]:
    """What is in the way of deliveries: one entry per destination, kind, state and reason, with its results."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if is_open(row):
            found = delivery_json(row)
            key = (found["destination"], found["kind"], found["state"], found["reason"])
            groups.setdefault(key, []).append(found)
    return [_group(dict(zip(_KEYS, key, strict=True)), found) for key, found in groups.items()]


_KEYS = ("destination", "kind", "state", "reason")


def _group(common: dict[str, str], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tries = sorted(f["next_try"] for f in found if f["next_try"])
    return {
        **common,
        "results": [f["result_id"] for f in found],
        "next_try": tries[0] if tries else None,
    }


def outdated(held: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Entries as of `attention` for results of a corrected identity, by the destination that holds them."""
    reason = (
        "made before the patient, study or order was corrected; reject them there, "
        "or set withdraw = true at the destination"
    )
    common = {"kind": RESULT, "state": "held", "reason": reason}
    return [
        {"destination": name, **common, "results": list(results), "next_try": None}
        for name, results in held.items()
    ]


def _arrow(entry: Mapping[str, Any]) -> str:
    return "withdrawal →" if entry["kind"] == WITHDRAWAL else "→"
