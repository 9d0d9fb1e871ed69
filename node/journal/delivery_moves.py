"""One event of a delivery, inside a transaction: its new state, and how long it has waited by now."""

from __future__ import annotations

from typing import Final

from node.errors import IllegalTransition, UnknownUid
from node.journal.columns import read_state
from node.journal.database import Transaction
from node.journal.states import DELIVERY_TRANSITIONS, DeliveryEvent, DeliveryState

_PROOF: Final = {
    DeliveryEvent.PROOF_FOUND: "stored",
    DeliveryEvent.NO_PROOF_OFFERED: "unproven",
}
_TRIES: Final = frozenset(
    {
        DeliveryEvent.PEER_ACCEPTED,
        DeliveryEvent.TRANSIENT_FAILURE,
        DeliveryEvent.PERMANENT_FAILURE,
    }
)
"""Events that count as an attempt."""
WAITED: Final = (
    "CASE WHEN state = 'waiting' THEN max(0, min(:now - state_at, next_try_at - state_at))"
    " WHEN fault_at > 0 THEN max(0, min(:now - fault_at, try_at - fault_at)) ELSE 0 END"
)
"""Seconds of the wait that ends now. Never more than was meant, and none that was negative: a clock that is set forward
or back, and a node that is off, take no patience from a delivery."""


def apply(
    tx: Transaction,
    delivery_id: int,
    event: DeliveryEvent,
    detail: dict[str, object],
    next_try_at: float | None,
) -> DeliveryState:
    """Apply one event to a delivery; as `DeliveryTable.advance`, which also settles the series."""
    row = tx.execute(
        "SELECT d.state, r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise UnknownUid(f"no delivery {delivery_id}")
    state = read_state(DeliveryState, row["state"])
    target = DELIVERY_TRANSITIONS.get((state, event))
    if target is None:
        raise IllegalTransition(f"delivery {delivery_id}: {event} does not fit {state}")
    tx.execute(
        "UPDATE delivery SET state = :target, detail = :reason, state_at = :now, next_try_at = :next,"
        f" waited_s = CASE WHEN :retry OR (:taken AND losses = 0) THEN 0 ELSE waited_s + {WAITED} END,"
        " losses = CASE WHEN :retry THEN 0 ELSE losses + :lost END,"
        " fault = '', fault_tries = 0, fault_at = 0, try_at = 0, unreachable = 0,"
        " proof = :proof, accepted = CASE WHEN :retry THEN '[]' ELSE accepted END,"
        " refused = CASE WHEN :retry THEN '{}' ELSE refused END,"
        " tries = CASE WHEN :retry THEN 0 ELSE tries + :tries END WHERE id = :id",
        {
            "target": target, "reason": str(detail.get("reason", "")), "now": tx.now(),
            "next": next_try_at, "id": delivery_id, "tries": int(event in _TRIES),
            "retry": event is DeliveryEvent.RETRY_REQUESTED,
            "taken": event is DeliveryEvent.PEER_ACCEPTED,
            "lost": int(event is DeliveryEvent.PROOF_MISSING),
            "proof": str(detail.get("proof", _PROOF.get(event, ""))),
        },
    )  # fmt: skip
    if event is not DeliveryEvent.DUE:  # what was asked was of what was sent before
        tx.execute(
            "UPDATE commitment SET state = 'done' WHERE delivery_id = ? AND state <> 'done'",
            (delivery_id,),
        )
    tx.event(row["series_id"], event, target, detail, delivery_id)
    return target
