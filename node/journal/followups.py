"""The journal's follow-ups: rows of `result` that compare results of one patient, and what outdates them.

A follow-up belongs to the series of the newest result that it compares, and is delivered and withdrawn as a result is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import IllegalTransition
from node.journal.database import Database, Transaction
from node.journal.deliveries import DeliveryTable
from node.journal.results import COLUMNS
from node.journal.rows import ResultRow, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import SeriesState

MADE: Final = "followup_made"
OUTDATED: Final = "followup_outdated"
"""Events that change no state of a series."""
_ON_ITS_WAY: Final = (
    SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.SELECTED, SeriesState.PROCESSING,
)  # fmt: skip
_OUTDATED: Final = (
    "SELECT f.result_id, f.series_id, s.state, max(i.superseded_because = 'corrected_identity') AS other_patient"
    " FROM result f JOIN series s ON s.id = f.series_id, json_each(f.inputs) j JOIN result i ON i.result_id = j.value"
    " WHERE f.inputs <> '[]' AND f.superseded_because IN ('', 'newer_comparison')"
    " AND i.superseded_because <> '' GROUP BY f.result_id"
)


@dataclass(frozen=True, slots=True)
class FollowUpTable:
    """Follow-ups: made, found, outdated."""

    database: Database
    series: SeriesTable
    deliveries: DeliveryTable

    def stamp(self) -> tuple[int, ...]:
        """Return numbers that are others when a result came, was superseded or was removed."""
        row = self.database.query(
            "SELECT count(*), coalesce(max(rowid), 0), coalesce(sum(superseded_because <> ''), 0),"
            " coalesce(sum(purged_at IS NOT NULL), 0) FROM result"
        ).fetchone()
        return tuple(int(n) for n in row)

    def is_at_rest(self, study: str) -> bool:
        """Return whether no series of a study may still get another result by itself."""
        marks = ", ".join("?" * len(_ON_ITS_WAY))
        found = self.database.query(
            f"SELECT 1 FROM series WHERE study = ? AND state IN ({marks}) LIMIT 1",
            (study, *_ON_ITS_WAY),
        ).fetchone()
        return found is None

    def newest(self, study: str) -> ResultRow | None:
        """Return the newest follow-up of a study, in whatever state; None where there is none."""
        row = self.database.query(
            f"SELECT {COLUMNS} FROM result r JOIN series s ON s.id = r.series_id"
            " WHERE s.study = ? AND r.inputs <> '[]' ORDER BY r.rowid DESC LIMIT 1",
            (study,),
        ).fetchone()
        return None if row is None else ResultRow.from_row(row, self.database.root)

    def has_deliveries(self, result_id: str) -> bool:
        """Return whether a follow-up has any delivery; one that a new journal found on disk has none."""
        query = "SELECT 1 FROM delivery WHERE result_id = ? LIMIT 1"
        return self.database.query(query, (result_id,)).fetchone() is not None

    def publish(
        self, key: SeriesKey, made: ResultRow, before: str, destinations: Sequence[str]
    ) -> None:
        """Record a follow-up with one delivery per destination; one that is recorded keeps its own.

        before: the follow-up in whose place it comes, "" without one.

        Raises:
            UnknownUid: there is no such series.
            IllegalTransition: a result that it compares does not count any more.
        """
        with self.database.transaction() as tx:
            row = self.series.read(tx, key)
            self._refuse_changed(tx, made)
            added = tx.execute(
                "INSERT OR IGNORE INTO result (result_id, series_id, folder, model_digest, attempt, created_at, inputs)"
                " VALUES (?, ?, ?, '', 0, ?, ?)",
                (
                    made.result_id, row.id, self.database.relative(made.folder), tx.now(),
                    json.dumps(made.inputs),
                ),
            )  # fmt: skip
            if added.rowcount:
                # Also those that `before` itself replaced: what takes their place has to arrive, and is this one now.
                tx.execute(
                    "UPDATE result SET superseded_by = :new, superseded_because ="
                    " CASE superseded_because WHEN '' THEN 'newer_comparison' ELSE superseded_because END"
                    " WHERE inputs <> '[]' AND result_id <> :new AND (result_id = :before"
                    " OR (:before <> '' AND superseded_by = :before))",
                    {"new": made.result_id, "before": before},
                )
                detail: dict[str, object] = {"result": made.result_id, "studies": len(made.inputs)}
                tx.event(row.id, MADE, row.state, detail)
            for name in destinations:
                self.deliveries.create(tx, row.id, made.result_id, name)

    def outdate(self) -> list[str]:
        """Mark every follow-up of which a result does not count any more; returns their ids.

        A result that was removed from the disk counts on: what was compared stays as right as it was.
        """
        # Reading first: the write lock at every look would be for nothing.
        if self.database.query(_OUTDATED).fetchone() is None:
            return []
        with self.database.transaction() as tx:
            rows = tx.execute(_OUTDATED).fetchall()
            for row in rows:
                because = "corrected_identity" if row["other_patient"] else "input_changed"
                tx.execute(
                    "UPDATE result SET superseded_because = ? WHERE result_id = ?",
                    (because, row["result_id"]),
                )
                detail: dict[str, object] = {"result": row["result_id"], "because": because}
                tx.event(row["series_id"], OUTDATED, row["state"], detail)
            return [row["result_id"] for row in rows]

    def _refuse_changed(self, tx: Transaction, made: ResultRow) -> None:
        marks = ", ".join("?" * len(made.inputs))
        counted = tx.execute(
            f"SELECT count(*) FROM result WHERE result_id IN ({marks}) AND superseded_because = ''"
            " AND superseded_by = '' AND inputs = '[]'",
            made.inputs,
        ).fetchone()[0]
        if counted != len(made.inputs):
            raise IllegalTransition("a result that is compared does not count any more")
