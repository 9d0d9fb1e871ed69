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
from node.journal.corrections import CorrectionTable
from node.journal.database import Database
from node.journal.deliveries import DeliveryTable
from node.journal.followups import FollowUpTable
from node.journal.identities import IdentityTable
from node.journal.instances import InstanceTable
from node.journal.jobs import JobTable
from node.journal.overview import Overview
from node.journal.paging import Paging
from node.journal.promotions import PromotionTable
from node.journal.pulls import PullTable
from node.journal.purges import PurgeTable
from node.journal.refusals import RefusalTable
from node.journal.repairs import RepairTable
from node.journal.requests import RequestTable, wait_ended
from node.journal.restore import Restore
from node.journal.results import ResultTable
from node.journal.reviews import ReviewTable
from node.journal.rows import SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import SeriesState
from node.journal.withdrawals import WithdrawalTable

_COUNTED: Final = {
    "": "series",
    "delivery.": "(SELECT CASE proof WHEN 'unproven' THEN proof ELSE state END AS state"
    " FROM delivery WHERE kind = 'result')",
    "withdrawal.": "delivery WHERE kind = 'withdrawal'",
    "verified.": "delivery WHERE kind = 'verified'",
    "commitment.": "commitment_request",
    "instance.": "instance",
    "job.": "job",
    "pull.": "pull",
    "correction.": "correction",
}


@dataclass(frozen=True, slots=True)
class Journal:
    """All that is known of every object, series, result and delivery, of jobs and the bundle in service.

    What a method has returned from survives a power cut. One connection per thread; several processes
    may use the file at the same time. Open it with `Journal.open`, `writing` or `reading`.
    """

    database: Database
    series: SeriesTable
    deliveries: DeliveryTable
    withdrawals: WithdrawalTable
    commitments: CommitmentTable
    results: ResultTable
    reviews: ReviewTable
    followups: FollowUpTable
    instances: InstanceTable
    jobs: JobTable
    promotions: PromotionTable
    pulls: PullTable
    corrections: CorrectionTable
    identities: IdentityTable
    refusals: RefusalTable
    restore: Restore
    overview: Overview
    paging: Paging
    changes: ChangeTable
    purges: PurgeTable
    repairs: RepairTable
    requests: RequestTable

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
            withdrawals=WithdrawalTable(database),
            commitments=CommitmentTable(database),
            results=results,
            reviews=ReviewTable(database, deliveries),
            followups=FollowUpTable(database, series, deliveries),
            instances=InstanceTable(database, series, results),
            jobs=jobs,
            promotions=PromotionTable(database, jobs),
            pulls=PullTable(database),
            corrections=CorrectionTable(database, series),
            identities=IdentityTable(database),
            refusals=RefusalTable(database),
            restore=Restore(database, series),
            overview=Overview(database),
            paging=Paging(database),
            changes=ChangeTable(database),
            purges=PurgeTable(database, series),
            repairs=RepairTable(database, series),
            requests=RequestTable(database, series, deliveries),
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
            moved = [row.key for row in rows if self.requests.retry_in(tx, row, force=force, by=by)]
        if not moved:
            purged = any(row.state is SeriesState.PURGED for row in rows)
            remedy = "; its files were removed, send it again" if purged else ""
            states = ", ".join(r.state for r in rows)
            raise IllegalTransition(f"{uid}: nothing to retry, the series is {states}{remedy}")
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
                | wait_ended(tx, r.id, by, ended=self.deliveries.end_waits(tx, r.id, destination))
            ]

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
