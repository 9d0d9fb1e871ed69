"""What a new journal gets back: results from their folders, and what a damaged one still says."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.errors import StateRefused
from node.journal import file as journal_file
from node.journal.database import Database, Transaction
from node.journal.rows import ResultRow, SeriesKey, row_uid
from node.journal.series import SeriesTable
from node.journal.states import SeriesState

_Row = Mapping[str, Any]
_KEPT: Final = ("job", "job_event", "promotion")
"""Tables that no file gives back."""
_OF_THE_MOMENT: Final = frozenset({"id", "token", "token_at"})


@dataclass(frozen=True, slots=True)
class Restore:
    """Rows that come from files or from a damaged journal instead of from the steps."""

    database: Database
    series: SeriesTable

    def add_result(self, key: SeriesKey, result: ResultRow) -> bool:
        """Record a result without deliveries; False when its series is unknown or it is known already."""
        with self.database.transaction() as tx:
            series_id = self.series.find_id(tx, key)
            if series_id is None:
                return False
            row = {
                "result_id": result.result_id, "series_id": series_id, "folder": self.database.relative(result.folder),
                "model_digest": result.model_digest, "attempt": result.attempt, "created_at": result.created_at,
                "superseded_by": result.superseded_by, "superseded_because": result.superseded_because,
                "inputs": json.dumps(result.inputs),
            }  # fmt: skip
            return _insert(tx, "result", row)

    def take_over(self, damaged: Path) -> dict[str, int]:
        """Take from a damaged journal what no file says, as far as it can be read; returns rows by table.

        Jobs and the bundle in service as they were; series whose files were purged; deliveries of results
        that are known here, why such results are superseded and what was decided of them; the reasons of quarantined objects.
        """
        with _readable(damaged) as old, self.database.transaction() as tx:
            taken = {
                table: sum(_insert(tx, table, row) for row in _rows(old, table)) for table in _KEPT
            }
            taken["purged"] = self._purged(old, tx)
            taken["delivery"] = sum(
                _insert(tx, "delivery", {k: v for k, v in row.items() if k != "id"})
                for row in _rows(old, "delivery")
            )
            taken["result"] = sum(_complete(tx, row) for row in _rows(old, "result"))
            taken["quarantined"] = sum(_explain(tx, row) for row in _rows(old, "instance"))
            return taken

    def _purged(self, old: sqlite3.Connection | None, tx: Transaction) -> int:
        """Take the rows of series whose files were purged; returns how many. Their ids are others here."""
        ids: dict[int, int] = {}
        for row in _rows(old, "series"):
            key = SeriesKey(row["study"], row["series"])
            if row["state"] == SeriesState.PURGED and self.series.find_id(tx, key) is None:
                _insert(tx, "series", {k: v for k, v in row.items() if k not in _OF_THE_MOMENT})
                new = self.series.find_id(tx, key)
                if new is not None:
                    ids[row["id"]] = new
        for table in ("instance", "result"):
            for row in _rows(old, table) if ids else ():
                if row["series_id"] in ids:
                    _insert(tx, table, {**row, "series_id": ids[row["series_id"]]})
        return len(ids)


@contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open a journal that may be damaged; None when it cannot even be opened."""
    try:
        connection = journal_file.for_reading(path)
    except (OSError, sqlite3.Error, StateRefused):
        yield None
        return
    with closing(connection):
        yield connection


def _rows(old: sqlite3.Connection | None, table: str) -> Iterator[dict[str, Any]]:
    """Rows of one table, up to the first that cannot be read."""
    if old is None:
        return
    try:
        for row in old.execute(f"SELECT * FROM {table} ORDER BY rowid"):
            yield dict(row)
    except sqlite3.Error:
        return


def _insert(tx: Transaction, table: str, row: _Row) -> bool:
    """Insert the columns that are known here; False when the row does not fit."""
    known = [r["name"] for r in tx.execute(f"PRAGMA table_info({table})")]
    names = [name for name in known if name in row]
    places = ", ".join("?" * len(names))
    try:
        cursor = tx.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({places})",
            [row[name] for name in names],
        )
    except sqlite3.Error:  # it names a row that is gone, or holds what a page of noise held
        return False
    return cursor.rowcount == 1


def _complete(tx: Transaction, row: _Row) -> bool:
    cursor = tx.execute(
        "UPDATE result SET attempt = ?, superseded_because = ?, review = ?, reviewed_by = ?, reviewed_at = ?,"
        " review_reason = ?, organization = ? WHERE result_id = ?",
        (
            row.get("attempt", 0),
            row.get("superseded_because", ""),
            row.get("review", ""),
            row.get("reviewed_by", ""),
            row.get("reviewed_at"),
            row.get("review_reason", ""),
            row.get("organization", ""),
            row.get("result_id"),
        ),
    )
    # A result is a forced one when its series was asked for more of them than it has.
    tx.execute(
        "UPDATE series SET forced = max(forced, ?)"
        " WHERE id = (SELECT series_id FROM result WHERE result_id = ?)",
        (row.get("attempt", 0), row.get("result_id")),
    )
    return cursor.rowcount == 1


def _explain(tx: Transaction, row: _Row) -> bool:
    cursor = tx.execute(
        "UPDATE instance SET reason = ? WHERE sop_instance = ? AND digest = ? AND state = 'quarantined'"
        " AND ? = 'quarantined'",
        (
            row.get("reason"),
            row_uid(str(row.get("sop_instance"))),
            row.get("digest"),
            row.get("state"),
        ),
    )
    return cursor.rowcount == 1
