"""What happened since then, over all series and deliveries, in the order of the journal; for the audit trail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from node.journal.columns import read_json
from node.journal.database import Database

if TYPE_CHECKING:
    import sqlite3

ANCHOR: Final = "audit_anchor"
"""An event without a series: number and hash of the last line of the audit trail."""

_CHANGES: Final = (
    "SELECT e.id, e.at, e.series_id, e.delivery_id, e.event, e.state, e.detail, s.study, s.series,"
    " d.destination, d.kind, d.result_id"
    " FROM event e LEFT JOIN series s ON s.id = e.series_id LEFT JOIN delivery d ON d.id = e.delivery_id"
    " WHERE e.id >= ? ORDER BY e.id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Change:
    """One event. destination, kind and result_id are those of a delivery, "" for an event of the series."""

    id: int
    at: float
    series_id: int
    event: str
    state: str
    detail: Mapping[str, Any]
    study: str
    series: str
    destination: str
    kind: str
    result_id: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Change:
        """Read a row of the query; what is NULL is empty."""
        texts = ("study", "series", "destination", "kind", "result_id")
        return cls(
            id=row["id"],
            at=row["at"],
            series_id=row["series_id"] or 0,
            event=row["event"],
            state=row["state"],
            detail=read_json(row["detail"], dict),
            **{name: row[name] or "" for name in texts},
        )


@dataclass(frozen=True, slots=True)
class ChangeTable:
    """The history of everything."""

    database: Database

    def since(self, first: int, limit: int) -> list[Change]:
        """Return the events from this id on, oldest first."""
        rows = self.database.query(_CHANGES, (first, limit))
        return [Change.from_row(row) for row in rows]

    def newest(self) -> dict[str, int]:
        """Return the newest id of the tables `event` and `promotion`, 0 where there is none."""
        return {
            table: int(
                self.database.query(f"SELECT coalesce(max(id), 0) AS id FROM {table}").fetchone()[
                    "id"
                ]
            )
            for table in ("event", "promotion")
        }

    def senders(self, series_id: int) -> dict[str, Counter[str]]:
        """Return the calling AE titles of a series' stored objects, with their number by SOP class."""
        rows = self.database.query(
            "SELECT calling_ae, sop_class, count(*) AS objects FROM instance"
            " WHERE series_id = ? AND state = 'stored' GROUP BY calling_ae, sop_class"
            " ORDER BY calling_ae, sop_class",
            (series_id,),
        )
        found: dict[str, Counter[str]] = {}
        for row in rows:
            found.setdefault(row["calling_ae"], Counter())[row["sop_class"]] = row["objects"]
        return found

    def sender(self, sop_instance: str, digest: str) -> str:
        """Return the calling AE title of one object, "" where it is not known. sop_instance: "" where it has none."""
        row = self.database.query(
            "SELECT calling_ae FROM instance WHERE sop_instance = :uid AND digest = :digest"
            if sop_instance
            else "SELECT calling_ae FROM instance WHERE digest = :digest LIMIT 1",
            {"uid": sop_instance, "digest": digest},
        ).fetchone()
        return "" if row is None else str(row["calling_ae"])

    def anchor(self, number: int, digest: str) -> None:
        """Note number and hash of a line of the audit trail."""
        with self.database.transaction() as tx:
            tx.event(None, ANCHOR, "", {"n": number, "hash": digest})

    def anchors(self) -> dict[int, str]:
        """Return the hashes that were noted, by the number of their line."""
        rows = self.database.query("SELECT detail FROM event WHERE event = ?", (ANCHOR,))
        noted = [read_json(row["detail"], dict) for row in rows]
        return {d["n"]: str(d.get("hash", "")) for d in noted if isinstance(d.get("n"), int)}
