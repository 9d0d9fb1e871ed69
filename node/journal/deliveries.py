"""The journal's deliveries: what each destination has of a result, and what is to be taken back from it.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import UnknownUid
from node.journal.database import Database, Transaction, Values
from node.journal.delivery_moves import WAITED, apply
from node.journal.rows import RESULT, DeliveryRow, Kind, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import (
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
)

SUPERSEDED: Final = "superseded"
"""Detail of a delivery whose result was replaced by a newer one; it is never tried again."""
_DELIVERY: Final = (
    "SELECT d.id, d.result_id, r.folder, d.destination, d.state, d.tries, d.next_try_at, d.detail, d.state_at,"
    " d.fault, d.fault_tries, d.try_at, d.waited_s, d.kind, d.accepted, d.refused, d.proof, r.superseded_because, s.study, s.series,"
    " r.inputs <> '[]' AS is_followup"
    " FROM delivery d JOIN result r USING (result_id) JOIN series s ON s.id = r.series_id "
)


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
            state = apply(tx, delivery_id, event, dict(detail or {}), next_try_at)
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
                f" waited_s = waited_s + {WAITED}, fault_at = :now, try_at = :until"
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
                f"UPDATE delivery SET detail = :reason, fault = '', unreachable = 0, waited_s = waited_s + {WAITED},"
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

    # --- inside a transaction ---

    def create(
        self, tx: Transaction, series_id: int, result_id: str, destination: str, kind: Kind = RESULT
    ) -> None:
        """Add a pending delivery of a result, unless the destination has one already."""
        cursor = tx.execute(
            "INSERT OR IGNORE INTO delivery (result_id, destination, kind, state, state_at) VALUES (?, ?, ?, ?, ?)",
            (result_id, destination, kind, DeliveryState.PENDING, tx.now()),
        )
        if cursor.rowcount:
            detail = {"destination": destination}
            tx.event(series_id, "created", DeliveryState.PENDING, detail, cursor.lastrowid)

    def supersede(self, tx: Transaction, series_id: int, by: str) -> list[tuple[str, str]]:
        """End the deliveries of all other results of a series that are on their way; returns destination and result."""
        older = tx.execute(
            "SELECT d.id, d.destination, d.result_id FROM delivery d JOIN result r USING (result_id)"
            " WHERE r.series_id = ? AND r.result_id <> ? AND r.inputs = '[]' AND d.kind <> 'withdrawal'"
            " AND d.state IN ('pending', 'waiting', 'sent') ORDER BY d.id",
            (series_id, by),
        ).fetchall()
        for row in older:
            detail: dict[str, object] = {"reason": SUPERSEDED, "by": by}
            apply(tx, row["id"], DeliveryEvent.SUPERSEDED, detail, None)
        return [(row["destination"], row["result_id"]) for row in older]

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
            apply(tx, row["id"], DeliveryEvent.RETRY_REQUESTED, {"by": by}, None)
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

    def end_wait(self, tx: Transaction, delivery_id: int) -> None:
        """Let one delivery that waits for its next try be tried now."""
        tx.execute(
            "UPDATE delivery SET unreachable = 0, try_at = min(try_at, :now),"
            " next_try_at = CASE WHEN state = 'waiting' THEN min(next_try_at, :now) ELSE next_try_at END"
            " WHERE id = :id",
            {"now": tx.now(), "id": delivery_id},
        )

    def settle(self, tx: Transaction, series_id: int) -> None:
        """Make an `encoded` series `delivered` when its newest result has only confirmed deliveries.

        A result without any delivery leaves its series `encoded`. Follow-ups have deliveries of their own, of which the
        state of the series says nothing.
        """
        states = tx.execute(
            "SELECT d.state FROM delivery d WHERE d.kind = 'result' AND d.result_id ="
            " (SELECT result_id FROM result WHERE series_id = ? AND inputs = '[]' ORDER BY rowid DESC LIMIT 1)",
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
