"""The journal's part about what a destination has of a result, and what is to be taken back from it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from node.journal.database import Database
from node.journal.rows import WITHDRAWAL
from node.journal.states import DeliveryState

if TYPE_CHECKING:
    from dicomseg.encode.rejection_note import RejectionReason

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


class DeliveryTable(Database):
    """Outcomes per file, superseded results and their withdrawals."""

    def record_outcomes(
        self, delivery_id: int, accepted: Sequence[str], refused: Mapping[str, str]
    ) -> None:
        """Record which files the destination has taken by now, and which it will not take and why.

        In any state: what was sent while the delivery was superseded is held there all the same.
        """
        with self._writing() as db:
            db.execute(
                "UPDATE delivery SET accepted = ?, refused = ? WHERE id = ?",
                (json.dumps(list(accepted)), json.dumps(dict(refused)), delivery_id),
            )

    def open_withdrawals(self, destination: str) -> int:
        """Make a withdrawal for every superseded result that the destination holds; returns how many.

        One that a later result replaces is taken back when that one has arrived.
        """
        query = f"{_HELD}{_REPLACED}AND d.destination = ?"
        # Reading first: the write lock ten times a second would be for nothing.
        if self._connection.execute(query, (destination,)).fetchone() is None:
            return 0
        with self._writing() as db:
            held = db.execute(query, (destination,)).fetchall()
            for row in held:
                cursor = db.execute(
                    "INSERT INTO delivery (result_id, destination, kind, state, state_at) VALUES (?, ?, ?, ?, ?)",
                    (
                        row["result_id"],
                        destination,
                        WITHDRAWAL,
                        DeliveryState.PENDING,
                        self._now(),
                    ),
                )
                detail = {"destination": destination, "reason": row["superseded_because"]}
                self._event(
                    db, row["series_id"], "withdrawal_created", DeliveryState.PENDING, detail,
                    cursor.lastrowid,
                )  # fmt: skip
            return len(held)

    def held_outdated(self) -> dict[str, list[str]]:
        """Results of an identity that was corrected since, by the destination that still holds them."""
        query = _HELD + "AND r.superseded_because = 'corrected_identity' ORDER BY r.rowid"
        held: dict[str, list[str]] = {}
        for row in self._connection.execute(query):
            held.setdefault(row["destination"], []).append(row["result_id"])
        return held

    def _outdate_results(
        self, db: sqlite3.Connection, series_id: int, because: RejectionReason
    ) -> None:
        """Mark every result of a series as made of objects that are not to be used any more."""
        db.execute(
            "UPDATE result SET superseded_because = ? WHERE series_id = ? AND superseded_because <> ?",
            (because, series_id, because),
        )

    def _replace_results(self, db: sqlite3.Connection, series_id: int, result_id: str) -> None:
        """Name the new result in those of its series, and in those that were corrected into it."""
        db.execute(
            "UPDATE result SET superseded_by = ?, superseded_because ="
            " CASE WHEN superseded_because = '' THEN 'newer_input' ELSE superseded_because END"
            " WHERE superseded_by = '' AND result_id <> ? AND (series_id = ? OR (superseded_because <> ''"
            " AND series_id IN (SELECT old.series_id FROM instance new JOIN instance old"
            " ON old.sop_instance = new.sop_instance AND old.superseded_by = new.digest"
            " WHERE new.series_id = ? AND new.state = 'stored')))",
            (result_id, result_id, series_id, series_id),
        )
