"""Withdrawals in the journal: superseded results of which a destination still holds something."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.journal.database import Database, Transaction
from node.journal.rows import WITHDRAWAL
from node.journal.states import DeliveryState

HELD: Final = (
    "SELECT DISTINCT r.result_id, r.series_id, r.superseded_because, d.destination"
    " FROM result r JOIN delivery d USING (result_id)"
    " WHERE r.superseded_because <> '' AND d.kind <> 'withdrawal'"
    " AND (d.accepted <> '[]' OR d.state IN ('sent', 'confirmed'))"
    " AND NOT EXISTS (SELECT 1 FROM delivery w WHERE w.result_id = r.result_id"
    " AND w.destination = d.destination AND w.kind = 'withdrawal') "
)
"""Superseded results of which a destination holds something, and which were not taken back there."""

_REPLACED: Final = (
    "AND (r.superseded_because IN ('corrected_identity', 'input_changed') OR EXISTS (SELECT 1 FROM delivery n"
    " JOIN result m USING (result_id) WHERE m.superseded_because = ''"
    " AND CASE r.superseded_because WHEN 'newer_comparison' THEN m.result_id = r.superseded_by"
    " ELSE m.series_id = r.series_id AND m.inputs = '[]' END"
    " AND n.destination = d.destination AND n.kind = 'result' AND n.state = 'confirmed')) "
)
"""A wrong identity, and a follow-up that compares what does not count any more, is taken back at once; anything else
when the result in its place has arrived."""


@dataclass(frozen=True, slots=True)
class WithdrawalTable:
    """Which results are to be taken back, and from where; a withdrawal is a delivery of its own kind."""

    database: Database

    def outdated(self) -> dict[str, list[str]]:
        """Return results of an identity that was corrected since, by the destination that still holds them."""
        query = HELD + "AND r.superseded_because = 'corrected_identity' ORDER BY r.rowid"
        held: dict[str, list[str]] = {}
        for row in self.database.query(query):
            held.setdefault(row["destination"], []).append(row["result_id"])
        return held

    def open(self, destination: str) -> list[tuple[str, str]]:
        """Make a withdrawal for every superseded result that the destination holds.

        Returns the results with the reason why each was superseded.

        A result that a later one replaces is taken back when the later one has arrived.
        """
        query = f"{HELD}{_REPLACED}AND d.destination = ?"
        # Reading first: the write lock ten times a second would be for nothing.
        if self.database.query(query, (destination,)).fetchone() is None:
            return []
        with self.database.transaction() as tx:
            held = tx.execute(query, (destination,)).fetchall()
            insert_withdrawals(tx, held)
            return [(row["result_id"], row["superseded_because"]) for row in held]


def insert_withdrawals(tx: Transaction, held: Sequence[sqlite3.Row]) -> None:
    """Add a pending withdrawal for each row of `HELD`."""
    for row in held:
        cursor = tx.execute(
            "INSERT INTO delivery (result_id, destination, kind, state, state_at) VALUES (?, ?, ?, ?, ?)",
            (row["result_id"], row["destination"], WITHDRAWAL, DeliveryState.PENDING, tx.now()),
        )
        detail = {"destination": row["destination"], "reason": row["superseded_because"]}
        tx.event(
            row["series_id"], "withdrawal_created", DeliveryState.PENDING, detail, cursor.lastrowid
        )
