"""The journal's results: their folders, and which of them were superseded and why.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from node.journal.database import Database, Transaction
from node.journal.deliveries import DeliveryTable
from node.journal.rows import ResultRow, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import SeriesEvent

if TYPE_CHECKING:
    import sqlite3

    from dicomseg.encode.rejection_note import RejectionReason

COLUMNS: Final = "r.result_id, r.folder, r.model_digest, r.attempt, r.created_at, r.superseded_by, r.superseded_because, r.purged_at, r.inputs"


@dataclass(frozen=True, slots=True)
class CurrentResult:
    """A result that counts: neither superseded nor purged.

    file: one stored object of its series, None where none is left.
    """

    key: SeriesKey
    result: ResultRow
    file: Path | None


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Every published result folder."""

    database: Database
    series: SeriesTable
    deliveries: DeliveryTable

    def publish(
        self, key: SeriesKey, token: str, result: ResultRow, destinations: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Record a result and one delivery per destination; older pending ones are superseded.

        Returns destination and result of those that are superseded by it.

        A result that is already recorded keeps its deliveries: the same input sent twice is one result.
        """
        with self.database.transaction() as tx:
            row = self.series.read(tx, key)
            detail: dict[str, object] = {"result": result.result_id}
            self.series.apply(tx, row, SeriesEvent.RESULTS_PUBLISHED, token, detail)
            added = tx.execute(
                "INSERT OR IGNORE INTO result (result_id, series_id, folder, model_digest, attempt, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    result.result_id, row.id, self.database.relative(result.folder),
                    result.model_digest, result.attempt, tx.now(),
                ),
            )  # fmt: skip
            if added.rowcount:
                self._replace(tx, row.id, result.result_id)
            else:  # its folder may have been removed, and is there again
                tx.execute(
                    "UPDATE result SET purged_at = NULL WHERE result_id = ?", (result.result_id,)
                )
            superseded = self.deliveries.supersede(tx, row.id, result.result_id)
            for name in destinations:
                self.deliveries.create(tx, row.id, result.result_id, name)
            self.deliveries.settle(tx, row.id)
            return superseded

    def of_series(self, key: SeriesKey) -> list[ResultRow]:
        """Return the results of a series, oldest first."""
        return [row for row in self.all_of_series(key) if not row.inputs]

    def all_of_series(self, key: SeriesKey) -> list[ResultRow]:
        """Return the results of a series and the follow-ups that belong to it, oldest first."""
        rows = self.database.query(
            f"SELECT {COLUMNS} FROM result r JOIN series s ON s.id = r.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY r.rowid",
            key,
        )
        return [ResultRow.from_row(r, self.database.root) for r in rows]

    def newest_folders(self, series_ids: Sequence[int]) -> dict[int, Path]:
        """Return the folder of the newest result of each series that has one, by the id of the series' row."""
        marks = ", ".join("?" * len(series_ids))
        rows = self.database.query(
            "SELECT series_id, folder FROM result WHERE rowid IN"
            f" (SELECT max(rowid) FROM result WHERE series_id IN ({marks}) AND inputs = '[]' GROUP BY series_id)",
            series_ids,
        )
        return {r["series_id"]: self.database.root / r["folder"] for r in rows}

    def current(self, limit: int, study: str | None = None) -> list[CurrentResult]:
        """Return the results that count, newest first: of a series that which no other replaced.

        study: only those of this Study Instance UID.
        """
        only = "" if study is None else " AND s.study = :study"
        rows = self.database.query(
            f"SELECT {COLUMNS}, s.study, s.series, (SELECT i.path FROM instance i WHERE i.series_id = s.id"
            " AND i.state = 'stored' ORDER BY i.rowid LIMIT 1) AS path"
            " FROM result r JOIN series s ON s.id = r.series_id"
            f" WHERE r.superseded_by = '' AND r.superseded_because = '' AND r.purged_at IS NULL AND r.inputs = '[]'{only}"
            " ORDER BY r.rowid DESC LIMIT :limit",
            {"limit": limit, "study": study},
        )
        return [self._current(r) for r in rows]

    def corrected_into(self, key: SeriesKey) -> list[ResultRow]:
        """Return results of other series whose objects were corrected into this one, oldest first."""
        rows = self.database.query(
            f"SELECT DISTINCT {COLUMNS} FROM series s"
            " JOIN instance new ON new.series_id = s.id AND new.state = 'stored'"
            " JOIN instance old ON old.sop_instance = new.sop_instance AND old.superseded_by = new.digest"
            " JOIN result r ON r.series_id = old.series_id AND r.inputs = '[]'"
            " WHERE s.study = ? AND s.series = ? AND old.series_id <> s.id ORDER BY r.created_at, r.attempt",
            key,
        )
        return [ResultRow.from_row(r, self.database.root) for r in rows]

    def _current(self, row: sqlite3.Row) -> CurrentResult:
        root = self.database.root
        result = ResultRow.from_row(row, root)
        file = None if row["path"] is None else root / row["path"]
        return CurrentResult(SeriesKey(row["study"], row["series"]), result, file)

    # --- inside a transaction ---

    def outdate(self, tx: Transaction, series_id: int, because: RejectionReason) -> None:
        """Mark every result of a series, and every follow-up that belongs to it, as made of objects that are not to be used any more."""
        tx.execute(
            "UPDATE result SET superseded_because = ? WHERE series_id = ? AND superseded_because <> ?",
            (because, series_id, because),
        )

    def _replace(self, tx: Transaction, series_id: int, result_id: str) -> None:
        """Name the new result in those of its series, and in those that were corrected into it."""
        tx.execute(
            "UPDATE result SET superseded_by = ?, superseded_because ="
            " CASE WHEN superseded_because = '' THEN 'newer_input' ELSE superseded_because END"
            " WHERE superseded_by = '' AND inputs = '[]' AND result_id <> ? AND (series_id = ? OR (superseded_because <> ''"
            " AND series_id IN (SELECT old.series_id FROM instance new JOIN instance old"
            " ON old.sop_instance = new.sop_instance AND old.superseded_by = new.digest"
            " WHERE new.series_id = ? AND new.state = 'stored')))",
            (result_id, result_id, series_id, series_id),
        )
