"""Rows that `doctor --repair` brings back in order while the node is stopped."""

from __future__ import annotations

from dataclasses import dataclass

from node.journal.columns import read_state
from node.journal.database import Database
from node.journal.rows import SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import SeriesEvent, SeriesState


@dataclass(frozen=True, slots=True)
class EndedWait:
    """A series or delivery that waited after a fault. subject: series, or destination."""

    step: str
    subject: str
    fault: str


@dataclass(frozen=True, slots=True)
class RepairTable:
    """Repairs of rows."""

    database: Database
    series: SeriesTable

    def end_waits(self) -> list[EndedWait]:
        """End the wait of every series and delivery that waits after a fault of ours; the next start tries them."""
        with self.database.transaction() as tx:
            series = tx.execute(
                "UPDATE series SET try_at = 0 WHERE fault <> '' AND try_at > 0"
                " RETURNING series, fault_step, fault"
            ).fetchall()
            deliveries = tx.execute(
                "UPDATE delivery SET try_at = 0 WHERE fault <> '' AND try_at > 0 RETURNING destination, fault"
            ).fetchall()
        return [
            *(EndedWait(r["fault_step"], r["series"], r["fault"]) for r in series),
            *(EndedWait("deliver", r["destination"], r["fault"]) for r in deliveries),
        ]

    def recount(self) -> list[tuple[SeriesKey, int, int]]:
        """Correct the number of stored objects of every series; returns series, number before and now."""
        with self.database.transaction() as tx:
            rows = tx.execute(
                "SELECT s.id, s.study, s.series, s.instances AS before,"
                " (SELECT count(*) FROM instance i WHERE i.series_id = s.id AND i.state = 'stored') AS now"
                " FROM series s WHERE before <> now"
            ).fetchall()
            for row in rows:
                tx.execute("UPDATE series SET instances = ? WHERE id = ?", (row["now"], row["id"]))
        return [(SeriesKey(r["study"], r["series"]), r["before"], r["now"]) for r in rows]

    def make_again(self, key: SeriesKey, reason: str, by: str) -> bool:
        """Send a series back to selection for a result with new UIDs; False where its state does not allow it."""
        with self.database.transaction() as tx:
            row = tx.execute(
                "SELECT id, state FROM series WHERE study = ? AND series = ?", key
            ).fetchone()
            if read_state(SeriesState, row["state"]) is not SeriesState.ENCODED:
                return False
            tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row["id"],))
            detail: dict[str, object] = {"force": True, "by": by, "reason": reason}
            self.series.move(
                tx, row["id"], SeriesState.COMPLETE, SeriesEvent.RETRY_REQUESTED, detail
            )
            return True
