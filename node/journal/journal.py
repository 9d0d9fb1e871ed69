"""The journal: results, deliveries and requests, on top of objects and series.

State and event are written in one transaction, or not at all. SQL stands here, in `series_table`,
`journal_jobs`, `database` and `schema` only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from node.errors import IllegalTransition, UnknownUid
from node.journal.database import decoded, state_of
from node.journal.jobs import JobTable
from node.journal.restore import RestoreTable
from node.journal.rows import DeliveryRow, ResultRow, SeriesKey, SeriesRow
from node.journal.states import (
    DELIVERY_TRANSITIONS,
    SERIES_TRANSITIONS,
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
)

SUPERSEDED: Final = "superseded"
"""Detail of a delivery whose result was replaced by a newer one; it is never tried again."""
_PROOF: Final = {
    DeliveryEvent.PROOF_FOUND: "found",
    DeliveryEvent.NO_PROOF_OFFERED: "unproven",
}
_COUNTED: Final = {
    "": "series",
    "delivery.": "(SELECT CASE proof WHEN 'unproven' THEN proof ELSE state END AS state"
    " FROM delivery WHERE kind = 'result')",
    "withdrawal.": "delivery WHERE kind = 'withdrawal'",
    "instance.": "instance",
    "job.": "job",
}
_DELIVERY: Final = (
    "SELECT d.id, d.result_id, r.folder, d.destination, d.state, d.tries, d.next_try_at, d.detail, d.state_at,"
    " d.fault, d.fault_tries, d.try_at, d.kind, d.accepted, d.refused, d.proof, r.superseded_because, s.study, s.series"
    " FROM delivery d JOIN result r USING (result_id) JOIN series s ON s.id = r.series_id "
)


class Journal(RestoreTable, JobTable):
    """All that is known of every object, series, result and delivery, of jobs and the bundle in service.

    What a method has returned from survives a power cut. One connection per thread; several processes
    may use the file at the same time. Open it with `Journal.open`.
    """

    # --- results ---

    def publish(
        self, key: SeriesKey, token: str, result: ResultRow, destinations: Sequence[str]
    ) -> None:
        """Record a result and one delivery per destination; older pending ones are superseded.

        A result that is already recorded keeps its deliveries: the same input sent twice is one result.
        """
        with self._writing() as db:
            row = self._locked(db, key)
            self._advance(
                db, row, SeriesEvent.RESULTS_PUBLISHED, token, {"result": result.result_id}
            )
            now = self._now()
            added = db.execute(
                "INSERT OR IGNORE INTO result (result_id, series_id, folder, model_digest, attempt, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    result.result_id,
                    row.id,
                    self._kept(result.folder),
                    result.model_digest,
                    result.attempt,
                    now,
                ),
            )
            if added.rowcount:
                self._replace_results(db, row.id, result.result_id)
            older = db.execute(
                "SELECT d.id FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? AND r.result_id <> ?"
                " AND d.kind = 'result' AND d.state IN ('pending', 'waiting', 'sent')",
                (row.id, result.result_id),
            ).fetchall()
            for (delivery_id,) in older:
                detail: dict[str, object] = {"reason": SUPERSEDED, "by": result.result_id}
                self._move_delivery(db, delivery_id, DeliveryEvent.SUPERSEDED, detail, None)
            for name in destinations:
                cursor = db.execute(
                    "INSERT OR IGNORE INTO delivery (result_id, destination, state, state_at) VALUES (?, ?, ?, ?)",
                    (result.result_id, name, DeliveryState.PENDING, now),
                )
                if cursor.rowcount:
                    self._event(
                        db,
                        row.id,
                        "created",
                        DeliveryState.PENDING,
                        {"destination": name},
                        cursor.lastrowid,
                    )
            self._settle(db, row.id)

    def results_of(self, key: SeriesKey) -> list[ResultRow]:
        """Results of a series, oldest first."""
        rows = self._connection.execute(
            "SELECT r.result_id, r.folder, r.model_digest, r.attempt, r.created_at, r.superseded_by, r.superseded_because FROM result r JOIN series s ON s.id = r.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY r.rowid",
            key,
        )
        return [self._result_row(r) for r in rows]

    def results_before(self, key: SeriesKey) -> list[ResultRow]:
        """Results of other series whose objects were corrected into this one, oldest first."""
        rows = self._connection.execute(
            "SELECT DISTINCT r.result_id, r.folder, r.model_digest, r.attempt, r.created_at, r.superseded_by, r.superseded_because FROM series s"
            " JOIN instance new ON new.series_id = s.id AND new.state = 'stored'"
            " JOIN instance old ON old.sop_instance = new.sop_instance AND old.superseded_by = new.digest"
            " JOIN result r ON r.series_id = old.series_id"
            " WHERE s.study = ? AND s.series = ? AND old.series_id <> s.id ORDER BY r.created_at, r.attempt",
            key,
        )
        return [self._result_row(r) for r in rows]

    def _result_row(self, r: sqlite3.Row) -> ResultRow:
        return ResultRow(
            r["result_id"],
            self._place(r["folder"]),
            r["model_digest"],
            r["attempt"],
            r["created_at"],
            r["superseded_by"],
            r["superseded_because"],
        )

    # --- deliveries ---

    def _delivery_row(self, r: sqlite3.Row) -> DeliveryRow:
        return DeliveryRow(
            r["id"], r["result_id"], self._place(r["folder"]), r["destination"], state_of(DeliveryState, r["state"]),
            r["tries"], r["next_try_at"], r["detail"], r["state_at"], SeriesKey(r["study"], r["series"]),
            r["fault"], r["fault_tries"], r["try_at"], r["kind"], tuple(decoded(r["accepted"], list)),
            decoded(r["refused"], dict), r["proof"], r["superseded_because"],
        )  # fmt: skip

    def deliveries_in(self, *states: DeliveryState) -> list[DeliveryRow]:
        """Deliveries in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return [
            self._delivery_row(r)
            for r in self._connection.execute(
                _DELIVERY + f"WHERE d.state IN ({marks}) ORDER BY d.id", states
            )
        ]

    def deliveries_of(self, key: SeriesKey) -> list[DeliveryRow]:
        """Deliveries of a series' results."""
        return [
            self._delivery_row(r)
            for r in self._connection.execute(
                _DELIVERY + "WHERE s.study = ? AND s.series = ? ORDER BY d.id", key
            )
        ]

    def deliveries_due(self, now: float, destination: str | None = None) -> list[DeliveryRow]:
        """Pending and sent deliveries, and waiting ones whose time has come; none that `defer_delivery` put off.

        destination: only those to this one.
        """
        query = (
            _DELIVERY + "WHERE (d.state IN ('pending', 'sent')"
            # Made to wait later than now: the clock was set back, which delays nothing.
            " OR (d.state = 'waiting' AND (d.next_try_at <= :now OR d.state_at > :now)))"
            " AND (d.try_at <= :now OR d.fault_at > :now)"
            " AND (:destination IS NULL OR d.destination = :destination) ORDER BY d.id"
        )
        given = {"now": now, "destination": destination}
        return [self._delivery_row(r) for r in self._connection.execute(query, given)]

    def defer_delivery(self, delivery_id: int, reason: str, until: float) -> None:
        """Record that a delivery failed for a reason of ours and go on with others; as `defer` for a series.

        reason: one sentence without patient data. until: seconds since 1970, by the caller's back-off over
        `DeliveryRow.fault_tries`. Gone with the next move of the delivery.
        """
        with self._writing() as db:
            row = db.execute(
                "UPDATE delivery SET fault = ?, fault_tries = fault_tries + 1, fault_at = ?, try_at = ?"
                " WHERE id = ? RETURNING result_id, state, fault_tries",
                (reason, self._now(), until, delivery_id),
            ).fetchone()
            if row is not None and row["fault_tries"] == 1:
                found = db.execute(
                    "SELECT series_id FROM result WHERE result_id = ?", (row["result_id"],)
                ).fetchone()
                detail = {"step": "deliver", "reason": reason}
                self._event(db, found["series_id"], "deferred", row["state"], detail, delivery_id)

    def advance_delivery(
        self,
        delivery_id: int,
        event: DeliveryEvent,
        *,
        detail: Mapping[str, object] | None = None,
        next_try_at: float | None = None,
    ) -> DeliveryState:
        """Apply one event to a delivery; a series whose deliveries are all confirmed becomes delivered.

        Raises:
            IllegalTransition: the table has no such pair.
        """
        with self._writing() as db:
            state = self._move_delivery(db, delivery_id, event, dict(detail or {}), next_try_at)
            row = db.execute(
                "SELECT r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
                (delivery_id,),
            ).fetchone()
            self._settle(db, row[0])
            return state

    def _move_delivery(
        self,
        db: sqlite3.Connection,
        delivery_id: int,
        event: DeliveryEvent,
        detail: dict[str, object],
        next_try_at: float | None,
    ) -> DeliveryState:
        row = db.execute(
            "SELECT d.state, r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
            (delivery_id,),
        ).fetchone()
        if row is None:
            raise UnknownUid(f"no delivery {delivery_id}")
        target = DELIVERY_TRANSITIONS.get((state_of(DeliveryState, row[0]), event))
        if target is None:
            raise IllegalTransition(f"delivery {delivery_id}: {event} does not fit {row[0]}")
        tried = event in {
            DeliveryEvent.PEER_ACCEPTED,
            DeliveryEvent.TRANSIENT_FAILURE,
            DeliveryEvent.PERMANENT_FAILURE,
        }
        again = event is DeliveryEvent.RETRY_REQUESTED
        db.execute(
            "UPDATE delivery SET state = ?, detail = ?, state_at = ?, next_try_at = ?,"
            " fault = '', fault_tries = 0, fault_at = 0, try_at = 0,"
            " proof = ?, accepted = CASE WHEN ? THEN '[]' ELSE accepted END,"
            " refused = CASE WHEN ? THEN '{}' ELSE refused END,"
            " tries = CASE WHEN ? THEN 0 ELSE tries + ? END WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                self._now(),
                next_try_at,
                _PROOF.get(event, ""),
                again,
                again,
                again,
                int(tried),
                delivery_id,
            ),
        )
        self._event(db, row[1], event, target, detail, delivery_id)
        return target

    def _settle(self, db: sqlite3.Connection, series_id: int) -> None:
        """`encoded` becomes `delivered` when the newest result has only confirmed deliveries, and at least one."""
        states = db.execute(
            "SELECT d.state FROM delivery d WHERE d.kind = 'result' AND d.result_id = (SELECT result_id FROM result WHERE series_id = ? ORDER BY rowid DESC LIMIT 1)",
            (series_id,),
        ).fetchall()
        row = db.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()
        if (
            states
            and row[0] == SeriesState.ENCODED
            and all(s["state"] == DeliveryState.CONFIRMED for s in states)
        ):
            self._move(db, series_id, SeriesState.DELIVERED, SeriesEvent.ALL_CONFIRMED, {})

    # --- requests ---

    def request_retry(self, uid: str, *, force: bool = False) -> list[SeriesKey]:
        """Send series back to selection, dead deliveries back to pending, and try now what a fault put off.

        force: the next result gets new UIDs. Raises `UnknownUid`, `IllegalTransition` when nothing can be retried.
        """
        rows = self.find(uid)
        with self._writing() as db:
            moved = [row.key for row in rows if self._retry(db, row, force=force)]
        if not moved:
            raise IllegalTransition(
                f"{uid}: nothing to retry, the series is {', '.join(r.state for r in rows)}"
            )
        return moved

    def _retry(self, db: sqlite3.Connection, row: SeriesRow, *, force: bool) -> bool:
        dead = db.execute(
            "SELECT d.id FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? AND d.state = 'dead' AND d.detail <> ?",
            (row.id, SUPERSEDED),
        ).fetchall()
        for (delivery_id,) in dead:
            self._move_delivery(db, delivery_id, DeliveryEvent.RETRY_REQUESTED, {}, None)
        again = bool(dead) or self._try_now(db, row.id)
        if force:
            db.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row.id,))
        if (row.state, SeriesEvent.RETRY_REQUESTED) not in SERIES_TRANSITIONS:
            return again
        if force or not again:
            detail: dict[str, object] = {"force": force}
            self._move(db, row.id, SeriesState.COMPLETE, SeriesEvent.RETRY_REQUESTED, detail)
        return True

    def _try_now(self, db: sqlite3.Connection, series_id: int) -> bool:
        """End the wait of a series and its deliveries after a fault; False when none waits."""
        series = db.execute(
            "UPDATE series SET try_at = 0 WHERE id = ? AND fault <> ''", (series_id,)
        ).rowcount
        deliveries = db.execute(
            "UPDATE delivery SET try_at = 0 WHERE fault <> '' AND result_id IN"
            " (SELECT result_id FROM result WHERE series_id = ?)",
            (series_id,),
        ).rowcount
        return series + deliveries > 0

    def counts(self) -> dict[str, int]:
        """Number of series per state; of deliveries, withdrawals, objects and jobs as `delivery.…` and so on.

        `delivery.unproven` are those that are confirmed without a proof; `delivery.confirmed` have one.
        """
        out: dict[str, int] = {}
        for prefix, table in _COUNTED.items():
            for state, count in self._connection.execute(
                f"SELECT state, count(*) FROM {table} GROUP BY state"
            ):
                out[prefix + state] = count
        return out
