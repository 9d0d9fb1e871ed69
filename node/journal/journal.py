"""The journal: its tables over one database, and the requests and counts that concern several of them.

State and event are written in one transaction, or not at all. SQL is in this room only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from node.errors import IllegalTransition
from node.journal.changes import ChangeTable
from node.journal.commitments import CommitmentTable
from node.journal.database import Database, Transaction
from node.journal.deliveries import DeliveryTable
from node.journal.instances import InstanceTable
from node.journal.jobs import JobTable
from node.journal.overview import Overview
from node.journal.promotions import PromotionTable
from node.journal.restore import Restore
from node.journal.results import ResultTable
from node.journal.rows import SeriesKey, SeriesRow
from node.journal.series import SeriesTable
from node.journal.states import SERIES_TRANSITIONS, SeriesEvent, SeriesState

_COUNTED: Final = {
    "": "series",
    "delivery.": "(SELECT CASE proof WHEN 'unproven' THEN proof ELSE state END AS state"
    " FROM delivery WHERE kind = 'result')",
    "withdrawal.": "delivery WHERE kind = 'withdrawal'",
    "commitment.": "commitment_request",
    "instance.": "instance",
    "job.": "job",
}


WAIT_ENDED: Final = "wait_ended"
"""An event that changes no state: a person ended the wait after a fault."""


@dataclass(frozen=True, slots=True)
class Journal:
    """All that is known of every object, series, result and delivery, of jobs and the bundle in service.

    What a method has returned from survives a power cut. One connection per thread; several processes
    may use the file at the same time. Open it with `Journal.open`, `writing` or `reading`.
    """

    database: Database
    series: SeriesTable
    deliveries: DeliveryTable
    commitments: CommitmentTable
    results: ResultTable
    instances: InstanceTable
    jobs: JobTable
    promotions: PromotionTable
    restore: Restore
    overview: Overview
    changes: ChangeTable

    @classmethod
    def over(cls, database: Database) -> Self:
        """Return the tables of an open database."""
        series = SeriesTable(database)
        deliveries = DeliveryTable(database, series)
        results = ResultTable(database, series, deliveries)
        jobs = JobTable(database)
        return cls(
            database,
            series=series,
            deliveries=deliveries,
            commitments=CommitmentTable(database),
            results=results,
            instances=InstanceTable(database, series, results),
            jobs=jobs,
            promotions=PromotionTable(database, jobs),
            restore=Restore(database, series),
            overview=Overview(database),
            changes=ChangeTable(database),
        )

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open, create or migrate: for the service alone, as `Database.open`."""
        return cls.over(Database.open(path, now))

    @classmethod
    def writing(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for a command or a worker, as `Database.writing`."""
        return cls.over(Database.writing(path, now))

    @classmethod
    def reading(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for queries, as `Database.reading`."""
        return cls.over(Database.reading(path, now))

    def close(self) -> None:
        """Close this thread's connection."""
        self.database.close()

    def request_retry(self, uid: str, *, force: bool = False, by: str = "") -> list[SeriesKey]:
        """Send series back to selection, failed deliveries back to pending, and end every wait after a fault.

        force: the next result gets new UIDs. by: who asks. Raises `UnknownUid`, `IllegalTransition` when nothing can be retried.
        """
        rows = self.series.find(uid)
        with self.database.transaction() as tx:
            moved = [row.key for row in rows if self._retry(tx, row, force=force, by=by)]
        if not moved:
            raise IllegalTransition(
                f"{uid}: nothing to retry, the series is {', '.join(r.state for r in rows)}"
            )
        return moved

    def retry_deliveries(
        self, destination: str | None = None, uid: str | None = None, by: str = ""
    ) -> list[SeriesKey]:
        """Send failed deliveries back to pending, end the waits of others, and return their series.

        destination: only deliveries to this one. uid: only those of a study, series, instance or result.
        by: who asks.

        Raises:
            UnknownUid: the journal has none of this UID.
        """
        rows = self.series.in_states() if uid is None else self.series.find(uid)
        with self.database.transaction() as tx:
            # Both: what failed is sent again, and what waits does not wait longer.
            return [
                r.key
                for r in rows
                if self.deliveries.retry_failed(tx, r.id, destination, by)
                | _wait_ended(tx, r.id, by, ended=self.deliveries.end_waits(tx, r.id, destination))
            ]

    def _retry(self, tx: Transaction, row: SeriesRow, *, force: bool, by: str) -> bool:
        retried = self.deliveries.retry_failed(tx, row.id, by=by)
        series = "UPDATE series SET try_at = 0 WHERE id = ? AND fault <> ''"
        ended = self.deliveries.end_waits(tx, row.id) | (tx.execute(series, (row.id,)).rowcount > 0)
        retried |= _wait_ended(tx, row.id, by, ended=ended)
        if force:
            tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row.id,))
        if (row.state, SeriesEvent.RETRY_REQUESTED) not in SERIES_TRANSITIONS:
            return retried
        if force or not retried:
            detail: dict[str, object] = {"force": force, "by": by}
            self.series.move(tx, row.id, SeriesState.COMPLETE, SeriesEvent.RETRY_REQUESTED, detail)
        return True

    def counts(self) -> dict[str, int]:
        """Return the number of series per state; of deliveries, withdrawals, objects and jobs as `delivery.…` and so on.

        `delivery.unproven` are those that are confirmed without a proof; `delivery.confirmed` have one.
        """
        return {
            prefix + row["state"]: row["number"]
            for prefix, table in _COUNTED.items()
            for row in self.database.query(
                f"SELECT state, count(*) AS number FROM {table} GROUP BY state"
            )
        }


def _wait_ended(tx: Transaction, series_id: int, by: str, *, ended: bool) -> bool:
    """Record who ended a wait; returns whether one was ended."""
    if ended:
        row = tx.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()
        tx.event(series_id, WAIT_ENDED, row["state"], {"by": by})
    return ended
