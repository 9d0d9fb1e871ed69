"""Deliveries for people and programs, one by one and grouped by what prevents them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from node.clock import at_text
from node.journal.deliveries import SUPERSEDED
from node.journal.rows import RESULT, WITHDRAWAL, DeliveryRow
from node.journal.states import DeliveryState
from node.observe.text import state_text

ATTENTION_S: Final = 3600.0
"""Time after which a delivery that still waits needs a person's look, although it is tried on."""


def delivery_json(row: DeliveryRow) -> dict[str, Any]:
    """Return one delivery for programs."""
    next_try = row.try_at if row.fault else row.next_try_at
    return {
        "result_id": row.result_id,
        "destination": row.destination,
        "kind": row.kind,
        "state": str(row.state),
        "proof": row.proof or None,
        "tries": row.tries,
        "waited_s": round(row.waited_s, 1),
        "next_try": at_text(next_try) if next_try and is_open(row) else None,
        "reason": row.fault or row.detail,
        "taken": list(row.accepted),
        "refused": dict(row.refused),
    }


def is_open(row: DeliveryRow) -> bool:
    """Return whether a delivery waits, has failed or met a fault; False if its result was superseded."""
    stopped = row.state in {DeliveryState.WAITING, DeliveryState.DEAD} or bool(row.fault)
    # A report on storage commitment may take its time; after an hour a look at the PACS may help.
    stopped = stopped or (row.state is DeliveryState.SENT and row.waited_s >= ATTENTION_S)
    replaced = row.detail == SUPERSEDED or (row.kind != WITHDRAWAL and bool(row.because))
    return stopped and not replaced


def delivery_line(entry: Mapping[str, Any]) -> str:
    """Return one delivery as a line for people."""
    unproven = " (unproven)" if entry["proof"] == "unproven" else ""
    when = f", next try {entry['next_try']}" if entry["next_try"] else ""
    because = f": {entry['reason']}" if entry["reason"] else ""
    to = f"{entry['result_id'][:8]} {_arrow(entry)} {entry['destination']}"
    return f"{to} {state_text(entry['state'])}{unproven}{when}{because}"


def attention(rows: Iterable[DeliveryRow]) -> list[dict[str, Any]]:
    """Return what prevents deliveries: one entry per destination, kind, state and reason, with its results."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if is_open(row):
            entry = delivery_json(row)
            key = (entry["destination"], entry["kind"], entry["state"], entry["reason"])
            groups.setdefault(key, []).append(entry)
    return [_group(dict(zip(_KEYS, key, strict=True)), group) for key, group in groups.items()]


_KEYS = ("destination", "kind", "state", "reason")


def _group(common: dict[str, str], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tries = sorted(e["next_try"] for e in entries if e["next_try"])
    return {
        **common,
        "results": [e["result_id"] for e in entries],
        "next_try": tries[0] if tries else None,
        "waited_s": max(e["waited_s"] for e in entries),
    }


def outdated(held: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return entries as `attention` does for outdated results that a destination still holds."""
    reason = (
        "made before the patient, study or order was corrected; reject them on the PACS, "
        "or set withdraw = true at the destination"
    )
    common = {"kind": RESULT, "state": "held", "reason": reason}
    return [
        {"destination": name, **common, "results": list(results), "next_try": None}
        for name, results in held.items()
    ]


def _arrow(entry: Mapping[str, Any]) -> str:
    return "→" if entry["kind"] == RESULT else f"{entry['kind']} →"
