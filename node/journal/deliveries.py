"""The journal's deliveries: what each destination has of a result, and what is to be taken back from it.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import IllegalTransition, UnknownUid
from node.journal.columns import read_state
from node.journal.database import Database, Transaction, Values
from node.journal.rows import WITHDRAWAL, DeliveryRow, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import (
    DELIVERY_TRANSITIONS,
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
)

SUPERSEDED: Final = "superseded"
"""Detail of a delivery whose result was replaced by a newer one; it is never tried again."""
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
_WAITED: Final = (
    "CASE WHEN state = 'waiting' THEN max(0, min(:now - state_at, next_try_at - state_at))"
    " WHEN fault_at > 0 THEN max(0, min(:now - fault_at, try_at - fault_at)) ELSE 0 END"
)
"""Seconds of the wait that ends now. Never more than was meant, and none that was negative: a clock that is set forward
or back, and a node that is off, take no patience from a delivery."""
_DELIVERY: Final = (
    "SELECT d.id, d.result_id, r.folder, d.destination, d.state, d.tries, d.next_try_at, d.detail, d.state_at,"
    " d.fault, d.fault_tries, d.try_at, d.waited_s, d.kind, d.accepted, d.refused, d.proof, r.superseded_because, s.study, s.series"
    " FROM delivery d JOIN result r USING (result_id) JOIN series s ON s.id = r.series_id "
)
_HELD: Final = (
    "SELECT r.result_id, r.series_id, r.superseded_because, d.destination"
    " FROM result r JOIN delivery d USING (result_id)"
    " WHERE r.superseded_because <> '' AND d.kind = 'result'"
    " AND (d.accepted <> '[]' OR d.state IN ('sent', 'confirmed'))"
    " AND NOT EXISTS (SELECT 1 FROM delivery w WHERE w.result_id = r.result_id"
    " AND w.destination = d.destination AND w.kind = 'withdrawal') "
)
"""Superseded results of which a destination holds something, and which were not taken back there."""

_REPLACED: Final = (
    "AND (r.superseded_because = 'corrected_identity' OR EXISTS (SELECT 1 FROM delivery n"
    " JOIN result m USING (result_id) WHERE m.series_id = r.series_id AND m.superseded_because = ''"
    " AND n.destination = d.destination AND n.kind = 'result' AND n.state = 'confirmed')) "
)
"""A wrong identity is taken back at once; anything else when the result in its place has arrived."""


@dataclass(frozen=True, slots=True)
class DeliveryTable:
    """Deliveries and withdrawals, their outcomes per file, and which series are delivered by them."""

    database: Database
    series: SeriesTable

    def in_states(self, *states: DeliveryState) -> list[DeliveryRow]:
        """Return the deliveries in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return self._rows(f"WHERE d.state IN ({marks}) ORDER BY d.id", states)

    def get(self, delivery_id: int) -> DeliveryRow:
        """Return one delivery. Raises `UnknownUid`."""
        rows = self._rows("WHERE d.id = ?", (delivery_id,))
        if not rows:
            raise UnknownUid(f"no delivery {delivery_id}")
        return rows[0]

    def of_series(self, key: SeriesKey) -> list[DeliveryRow]:
        """Return the deliveries of a series' results."""
        return self._rows("WHERE s.study = ? AND s.series = ? ORDER BY d.id", key)

    def due(self, now: float, destination: str | None = None) -> list[DeliveryRow]:
        """Return pending and sent deliveries, and waiting ones whose time has come; none that `defer` put off.

        destination: only those to this one.
        """
        return self._rows(
            "WHERE (d.state IN ('pending', 'sent')"
            # Made to wait later than now: the clock was set back, which delays nothing.
            " OR (d.state = 'waiting' AND (d.next_try_at <= :now OR d.state_at > :now)))"
            " AND (d.try_at <= :now OR d.fault_at > :now)"
            " AND (:destination IS NULL OR d.destination = :destination) ORDER BY d.id",
            {"now": now, "destination": destination},
        )

    def held_outdated(self) -> dict[str, list[str]]:
        """Return results of an identity that was corrected since, by the destination that still holds them."""
        query = _HELD + "AND r.superseded_because = 'corrected_identity' ORDER BY r.rowid"
        held: dict[str, list[str]] = {}
        for row in self.database.query(query):
            held.setdefault(row["destination"], []).append(row["result_id"])
        return held

    # --- moves ---

    def advance(
        self,
        delivery_id: int,
        event: DeliveryEvent,
        *,
        detail: Mapping[str, object] | None = None,
        next_try_at: float | None = None,
        unreachable: bool = False,
    ) -> DeliveryState:
        """Apply one event to a delivery; a series whose deliveries are all confirmed becomes delivered.

        unreachable: it waits because the destination does not respond, until `wake`.

        Raises:
            IllegalTransition: the table has no such pair.
        """
        with self.database.transaction() as tx:
            state = self.apply(tx, delivery_id, event, dict(detail or {}), next_try_at)
            if unreachable:
                tx.execute("UPDATE delivery SET unreachable = 1 WHERE id = ?", (delivery_id,))
            row = tx.execute(
                "SELECT r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
                (delivery_id,),
            ).fetchone()
            self.settle(tx, row["series_id"])
            return state

    def defer(
        self, delivery_id: int, reason: str, until: float, *, unreachable: bool = False
    ) -> None:
        """Record that a delivery failed for a reason of ours; as `SeriesTable.defer`.

        reason: one sentence without patient data. until: seconds since 1970, by the caller's back-off over
        `DeliveryRow.fault_tries`. unreachable: as in `advance`. Gone with the next move of the delivery.
        """
        with self.database.transaction() as tx:
            row = tx.execute(
                "UPDATE delivery SET fault = :reason, fault_tries = fault_tries + 1, unreachable = :unreachable,"
                f" waited_s = waited_s + {_WAITED}, fault_at = :now, try_at = :until"
                " WHERE id = :id RETURNING result_id, state, fault_tries",
                {
                    "reason": reason, "now": tx.now(), "until": until, "id": delivery_id,
                    "unreachable": int(unreachable),
                },
            ).fetchone()  # fmt: skip
            if row is not None and row["fault_tries"] == 1:
                result = tx.execute(
                    "SELECT series_id FROM result WHERE result_id = ?", (row["result_id"],)
                ).fetchone()
                detail = {"step": "deliver", "reason": reason}
                tx.event(result["series_id"], "deferred", row["state"], detail, delivery_id)

    def await_report(self, delivery_id: int, reason: str, until: float) -> None:
        """Leave a sent delivery alone until the destination reports, or until then; that is no fault."""
        with self.database.transaction() as tx:
            row = tx.execute(
                f"UPDATE delivery SET detail = :reason, fault = '', unreachable = 0, waited_s = waited_s + {_WAITED},"
                " fault_at = :now, try_at = :until WHERE id = :id AND state = 'sent' RETURNING result_id",
                {"reason": reason, "now": tx.now(), "until": until, "id": delivery_id},
            ).fetchone()
            if row is not None:
                result = tx.execute(
                    "SELECT series_id FROM result WHERE result_id = ?", (row["result_id"],)
                ).fetchone()
                detail = {"reason": reason}
                tx.event(
                    result["series_id"], "commitment_requested", DeliveryState.SENT, detail,
                    delivery_id,
                )  # fmt: skip

    def unreachable(self, destination: str) -> int:
        """Return how many deliveries wait because the destination does not respond."""
        return int(
            self.database.query(
                "SELECT count(*) FROM delivery WHERE destination = ? AND unreachable = 1",
                (destination,),
            ).fetchone()[0]
        )

    def wake(self, destination: str) -> int:
        """End the wait of every delivery that waits because the destination did not respond; returns how many."""
        with self.database.transaction() as tx:
            now = tx.now()
            return tx.execute(
                "UPDATE delivery SET unreachable = 0,"
                " next_try_at = CASE WHEN state = 'waiting' THEN min(next_try_at, :now) ELSE next_try_at END,"
                " try_at = min(try_at, :now) WHERE destination = :destination AND unreachable = 1",
                {"now": now, "destination": destination},
            ).rowcount

    def record_outcomes(
        self, delivery_id: int, accepted: Sequence[str], refused: Mapping[str, str]
    ) -> None:
        """Record which files the destination has taken by now, and which it will not take and why.

        In any state: what was sent while the delivery was superseded is held there all the same.
        """
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE delivery SET accepted = ?, refused = ? WHERE id = ?",
                (json.dumps(list(accepted)), json.dumps(dict(refused)), delivery_id),
            )

    def open_withdrawals(self, destination: str) -> int:
        """Make a withdrawal for every superseded result that the destination holds; returns how many.

        A result that a later one replaces is taken back when the later one has arrived.
        """
        query = f"{_HELD}{_REPLACED}AND d.destination = ?"
        # Reading first: the write lock ten times a second would be for nothing.
        if self.database.query(query, (destination,)).fetchone() is None:
            return 0
        with self.database.transaction() as tx:
            held = tx.execute(query, (destination,)).fetchall()
            for row in held:
                cursor = tx.execute(
                    "INSERT INTO delivery (result_id, destination, kind, state, state_at) VALUES (?, ?, ?, ?, ?)",
                    (row["result_id"], destination, WITHDRAWAL, DeliveryState.PENDING, tx.now()),
                )
                detail = {"destination": destination, "reason": row["superseded_because"]}
                tx.event(
                    row["series_id"], "withdrawal_created", DeliveryState.PENDING, detail,
                    cursor.lastrowid,
                )  # fmt: skip
            return len(held)

    # --- inside a transaction ---

    def create(self, tx: Transaction, series_id: int, result_id: str, destination: str) -> None:
        """Add a pending delivery of a result, unless the destination has one already."""
        cursor = tx.execute(
            "INSERT OR IGNORE INTO delivery (result_id, destination, state, state_at) VALUES (?, ?, ?, ?)",
            (result_id, destination, DeliveryState.PENDING, tx.now()),
        )
        if cursor.rowcount:
            detail = {"destination": destination}
            tx.event(series_id, "created", DeliveryState.PENDING, detail, cursor.lastrowid)

    def supersede(self, tx: Transaction, series_id: int, by: str) -> None:
        """End the deliveries of all other results of a series that are still on their way."""
        older = tx.execute(
            "SELECT d.id FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? AND r.result_id <> ?"
            " AND d.kind = 'result' AND d.state IN ('pending', 'waiting', 'sent')",
            (series_id, by),
        ).fetchall()
        for row in older:
            detail: dict[str, object] = {"reason": SUPERSEDED, "by": by}
            self.apply(tx, row["id"], DeliveryEvent.SUPERSEDED, detail, None)

    def retry_failed(
        self, tx: Transaction, series_id: int, destination: str | None = None, by: str = ""
    ) -> bool:
        """Send the failed deliveries of a series back to pending; False when there is none.

        A delivery whose result was superseded stays as it is. destination: only those to this one.
        by: who asks.
        """
        failed = tx.execute(
            "SELECT d.id FROM delivery d JOIN result r USING (result_id)"
            " WHERE r.series_id = :series AND d.state = 'dead' AND d.detail <> :superseded"
            " AND (:destination IS NULL OR d.destination = :destination)",
            {"series": series_id, "superseded": SUPERSEDED, "destination": destination},
        ).fetchall()
        for row in failed:
            self.apply(tx, row["id"], DeliveryEvent.RETRY_REQUESTED, {"by": by}, None)
        return bool(failed)

    def end_waits(self, tx: Transaction, series_id: int, destination: str | None = None) -> bool:
        """Let the deliveries of a series that wait for their next try be tried now; False when none waits.

        What waits for a report on storage commitment is left alone. destination: only those to this one.
        """
        return (
            tx.execute(
                "UPDATE delivery SET unreachable = 0, try_at = min(try_at, :now),"
                " next_try_at = CASE WHEN state = 'waiting' THEN min(next_try_at, :now) ELSE next_try_at END"
                " WHERE result_id IN (SELECT result_id FROM result WHERE series_id = :series)"
                " AND (state = 'waiting' OR fault <> '')"
                " AND (:destination IS NULL OR destination = :destination)",
                {"now": tx.now(), "series": series_id, "destination": destination},
            ).rowcount
            > 0
        )

    def apply(
        self,
        tx: Transaction,
        delivery_id: int,
        event: DeliveryEvent,
        detail: dict[str, object],
        next_try_at: float | None,
    ) -> DeliveryState:
        """Apply one event; as `advance`, which also settles the series."""
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
            f" waited_s = CASE WHEN :retry OR (:taken AND losses = 0) THEN 0 ELSE waited_s + {_WAITED} END,"
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

    def settle(self, tx: Transaction, series_id: int) -> None:
        """Make an `encoded` series `delivered` when its newest result has only confirmed deliveries.

        A result without any delivery leaves its series `encoded`.
        """
        states = tx.execute(
            "SELECT d.state FROM delivery d WHERE d.kind = 'result' AND d.result_id ="
            " (SELECT result_id FROM result WHERE series_id = ? ORDER BY rowid DESC LIMIT 1)",
            (series_id,),
        ).fetchall()
        series = tx.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()
        if (
            states
            and series["state"] == SeriesState.ENCODED
            and all(s["state"] == DeliveryState.CONFIRMED for s in states)
        ):
            self.series.move(tx, series_id, SeriesState.DELIVERED, SeriesEvent.ALL_CONFIRMED, {})

    def _rows(self, where: str, values: Values) -> list[DeliveryRow]:
        rows = self.database.query(_DELIVERY + where, values)
        return [DeliveryRow.from_row(r, self.database.root) for r in rows]
