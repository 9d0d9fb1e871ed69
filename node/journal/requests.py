"""What a person asks for: another try, another delivery, to take a result back; with the name of who asks.

A request about a series as it was seen is done only while nothing happened to it since.
A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.clock import at_text
from node.errors import ChangedMeanwhile, IllegalTransition, UnknownUid
from node.journal.columns import read_json
from node.journal.database import Database, Transaction
from node.journal.deliveries import SUPERSEDED, DeliveryTable
from node.journal.delivery_moves import apply
from node.journal.rows import RESULT, WITHDRAWAL, SeriesRow
from node.journal.series import SERIES_COLUMNS, SeriesTable
from node.journal.states import SERIES_TRANSITIONS, DeliveryEvent, SeriesEvent, SeriesState
from node.journal.withdrawals import HELD, insert_withdrawals

WAIT_ENDED: Final = "wait_ended"
"""An event that changes no state: a person ended the wait after a fault."""
WITHDRAWAL_REQUESTED: Final = "withdrawal_requested"
"""An event that changes no state: a person takes a result back."""
WITHDRAWN: Final = "withdrawn"
"""Why a result is superseded that a person took back."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A series as a person saw it. event: number of its newest event; by: who asks."""

    series_id: int
    event: int
    by: str


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Requests, each in one transaction."""

    database: Database
    series: SeriesTable
    deliveries: DeliveryTable

    def retry(self, seen: Seen) -> None:
        """Send a series back to selection, or its failed deliveries back to pending.

        Raises:
            UnknownUid: there is no such series.
            ChangedMeanwhile: something happened to it since.
            IllegalTransition: nothing can be retried.
        """
        with self.database.transaction() as tx:
            row = self._unchanged(tx, seen)
            if not self.retry_in(tx, row, force=False, by=seen.by):
                raise IllegalTransition(
                    f"nothing to retry, the series is {row.state}; wait until it has ended"
                )

    def redeliver(self, seen: Seen, delivery_id: int) -> None:
        """Send one delivery again: a failed or confirmed one from the beginning, a waiting one now.

        A delivered series is encoded again until its newest result is confirmed again.

        Raises:
            UnknownUid, ChangedMeanwhile: as `retry`; a delivery of another series is unknown.
            IllegalTransition: it is on its way, or its result was replaced.
        """
        with self.database.transaction() as tx:
            row = self._unchanged(tx, seen)
            found = tx.execute(
                "SELECT d.state, d.kind, d.detail, d.fault, r.superseded_because, r.inputs FROM delivery d"
                " JOIN result r USING (result_id) WHERE d.id = ? AND r.series_id = ?",
                (delivery_id, row.id),
            ).fetchone()
            if found is None:
                raise UnknownUid(f"no delivery {delivery_id} of series {row.id}")
            replaced = found["kind"] != WITHDRAWAL and found["superseded_because"]
            if replaced or found["detail"] == SUPERSEDED:
                raise IllegalTransition(
                    "the result was replaced or taken back; it is not sent any more"
                )
            if found["state"] == "waiting" or found["fault"]:
                self.deliveries.end_wait(tx, delivery_id)
                tx.event(row.id, WAIT_ENDED, row.state, {"by": seen.by}, delivery_id)
                return
            apply(tx, delivery_id, DeliveryEvent.RETRY_REQUESTED, {"by": seen.by}, None)
            is_result = found["kind"] == RESULT and not read_json(found["inputs"], list)
            if is_result and row.state is SeriesState.DELIVERED:
                asked: dict[str, object] = {"by": seen.by}
                event = SeriesEvent.REDELIVERY_REQUESTED
                self.series.move(tx, row.id, SeriesState.ENCODED, event, asked)

    def withdraw(self, seen: Seen, result_id: str) -> int:
        """Take a result back from every destination that holds something of it; returns how many.

        The next result of the series gets UIDs of its own, as after a purge of a result that was taken back.

        Raises:
            UnknownUid, ChangedMeanwhile: as `retry`; a result of another series is unknown.
            IllegalTransition: no destination holds anything, or its files were removed.
        """
        with self.database.transaction() as tx:
            row = self._unchanged(tx, seen)
            found = tx.execute(
                "SELECT superseded_because, purged_at, inputs FROM result WHERE result_id = ? AND series_id = ?",
                (result_id, row.id),
            ).fetchone()
            if found is None:
                raise UnknownUid(f"no result {result_id} of series {row.id}")
            if found["purged_at"] is not None:
                raise IllegalTransition(
                    "its files were removed, so no rejection note can be made; reject it at the destinations"
                )
            if not found["superseded_because"]:
                tx.execute(
                    "UPDATE result SET superseded_because = ? WHERE result_id = ?",
                    (WITHDRAWN, result_id),
                )
                if not read_json(found["inputs"], list):  # of a follow-up no result is made again
                    tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row.id,))
            held = tx.execute(f"{HELD}AND r.result_id = ?", (result_id,)).fetchall()
            if not held:
                raise IllegalTransition(
                    "no destination holds anything of it that is not taken back"
                )
            detail: dict[str, object] = {"by": seen.by, "result": result_id}
            tx.event(row.id, WITHDRAWAL_REQUESTED, row.state, detail)
            insert_withdrawals(tx, held)
            return len(held)

    # --- inside a transaction ---

    def retry_in(self, tx: Transaction, row: SeriesRow, *, force: bool, by: str) -> bool:
        """Retry a series that was read in this transaction; False when nothing can be."""
        retried = self.deliveries.retry_failed(tx, row.id, by=by)
        series = "UPDATE series SET try_at = 0 WHERE id = ? AND fault <> ''"
        ended = self.deliveries.end_waits(tx, row.id) | (tx.execute(series, (row.id,)).rowcount > 0)
        retried |= wait_ended(tx, row.id, by, ended=ended)
        if force:
            tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row.id,))
        if (row.state, SeriesEvent.RETRY_REQUESTED) not in SERIES_TRANSITIONS:
            return retried
        if force or not retried:
            detail: dict[str, object] = {"force": force, "by": by}
            self.series.move(tx, row.id, SeriesState.COMPLETE, SeriesEvent.RETRY_REQUESTED, detail)
        return True

    def _unchanged(self, tx: Transaction, seen: Seen) -> SeriesRow:
        """Return the row of a series to which nothing has happened. Raises `UnknownUid`, `ChangedMeanwhile`."""
        found = tx.execute(SERIES_COLUMNS + "WHERE id = ?", (seen.series_id,)).fetchone()
        if found is None:
            raise UnknownUid(f"no series {seen.series_id}")
        since = tx.execute(
            "SELECT at, event, detail FROM event WHERE series_id = ? AND id > ? ORDER BY id",
            (seen.series_id, seen.event),
        ).fetchall()
        if since:
            named = [(r, who) for r in since if (who := read_json(r["detail"], dict).get("by"))]
            last, who = named[-1] if named else (since[-1], "the node")
            raise ChangedMeanwhile(
                f"something happened since this page was made: {last['event'].replace('_', ' ')} by {who}"
                f" at {at_text(last['at'])}; look at the series again, then decide"
            )
        return SeriesRow.from_row(found)


def wait_ended(tx: Transaction, series_id: int, by: str, *, ended: bool) -> bool:
    """Record who ended a wait; returns whether one was ended."""
    if ended:
        row = tx.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()
        tx.event(series_id, WAIT_ENDED, row["state"], {"by": by})
    return ended
