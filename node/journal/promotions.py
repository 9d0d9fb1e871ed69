"""The journal's promotions: which bundle is in service, and every change of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import PromotionRefused
from node.journal.database import Database
from node.journal.job_rows import Promotion
from node.journal.jobs import JobTable
from node.journal.states import JobEvent

PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled_back"
_PROMOTION: Final = (
    "SELECT id, at, event, folder, name, version, digest, replaced, before_id, job_id, asked_by, reason"
    " FROM promotion "
)


@dataclass(frozen=True, slots=True)
class PromotionTable:
    """Every change of the bundle in service."""

    database: Database
    jobs: JobTable

    def newest(self) -> Promotion | None:
        """Return the newest change of the bundle in service; None while it is the configured one."""
        newest = self._rows("ORDER BY id DESC LIMIT 1")
        return newest[0] if newest else None

    def all(self) -> list[Promotion]:
        """Return every change of the bundle in service, oldest first."""
        return self._rows("ORDER BY id")

    def folder_in_service(self, configured: Path | None) -> Path | None:
        """Return the folder of the promoted bundle, else the configured one; None is the shipped bundle."""
        newest = self.newest()
        return configured if newest is None or newest.folder is None else newest.folder

    def before(self, row: Promotion) -> Promotion | None:
        """Return what a rollback of `row` restores; None is the configured bundle."""
        earlier = self._rows("WHERE id = ?", row.before_id or 0)
        return earlier[0] if earlier else None

    def record(self, new: Promotion, seen_id: int) -> Promotion:
        """Put a bundle into service in one transaction; a job that proposed it becomes promoted.

        new: its `id` and `at` are set here. seen_id: the newest row that the decision rests on, 0 none.

        Raises:
            PromotionRefused: another bundle was put into service meanwhile.
            IllegalTransition, UnknownJob: the job does not propose anything.
        """
        with self.database.transaction() as tx:
            newest = tx.execute("SELECT coalesce(max(id), 0) AS id FROM promotion").fetchone()["id"]
            if newest != seen_id:
                raise PromotionRefused(
                    "another bundle was promoted in the meantime; check `lumbar-node models list` and retry"
                )
            if new.job_id is not None and new.event == PROMOTED:
                detail: dict[str, object] = {"by": new.asked_by, "reason": new.reason}
                self.jobs.apply(tx, new.job_id, JobEvent.PROMOTE_REQUESTED, detail, None)
            cursor = tx.execute(
                "INSERT INTO promotion (at, event, folder, name, version, digest, replaced, before_id, job_id, asked_by, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    tx.now(), new.event, "" if new.folder is None else self.database.relative(new.folder), new.name,
                    new.version, new.digest, new.replaced, new.before_id, new.job_id, new.asked_by, new.reason,
                ),
            )  # fmt: skip
            row = tx.execute(_PROMOTION + "WHERE id = ?", (cursor.lastrowid,)).fetchone()
            return Promotion.from_row(row, self.database.root)

    def _rows(self, where: str, *values: int) -> list[Promotion]:
        rows = self.database.query(_PROMOTION + where, values)
        return [Promotion.from_row(r, self.database.root) for r in rows]
