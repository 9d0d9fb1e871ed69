"""Series and quarantined objects whose files may be removed, and which were.

A purge is three moves: the rows say `purging`, the files are removed, the rows say `purged`. A kill between two of them
leaves rows that say `purging`, and whoever purges next removes what is left. Rows stay for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import IllegalTransition
from node.journal.columns import read_state
from node.journal.database import Database, Transaction
from node.journal.deliveries import SUPERSEDED
from node.journal.purge_rows import Leaving, Purgeable, Quarantined
from node.journal.rows import WITHDRAWAL, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import PURGEABLE, InstanceState, SeriesEvent, SeriesState

QUARANTINE_PURGED: Final = "quarantine_purged"
"""An event that changes no state: files of quarantined objects of a series were removed."""
_PROVEN: Final = ("stored", "committed", "found")

_SERIES: Final = (
    "SELECT s.id, s.study, s.series, s.state, s.reason, s.fault, s.state_at, s.last_at,"
    " (SELECT count(*) FROM instance i WHERE i.series_id = s.id AND i.state <> 'purged') AS objects,"
    " (SELECT coalesce(sum(i.bytes), 0) FROM instance i WHERE i.series_id = s.id AND i.state <> 'purged') AS bytes"
    " FROM series s "
)
_RESULTS: Final = (
    "SELECT folder FROM result WHERE series_id = ? AND purged_at IS NULL ORDER BY rowid"
)
_DELIVERIES: Final = (
    "SELECT d.destination, d.kind, d.state, d.detail, d.proof, d.state_at, d.accepted, r.superseded_because,"
    " r.rowid = (SELECT max(rowid) FROM result n WHERE n.series_id = r.series_id"
    " AND (n.inputs = '[]') = (r.inputs = '[]')) AS newest,"
    " EXISTS (SELECT 1 FROM delivery w WHERE w.result_id = r.result_id AND w.destination = d.destination"
    " AND w.kind = 'withdrawal') AS taken_back"
    " FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? ORDER BY d.id"
)
_SHARED: Final = (
    "EXISTS (SELECT 1 FROM instance o WHERE o.sop_instance = i.sop_instance AND o.path = i.path"
    " AND o.state NOT IN ('purging', 'purged'))"
)
"""Another row needs the file: the same bytes came under another transfer syntax or were damaged before."""


@dataclass(frozen=True, slots=True)
class PurgeTable:
    """Marks of what is removed."""

    database: Database
    series: SeriesTable

    # --- questions ---

    def candidates(self, before: float | None = None) -> Iterator[Purgeable]:
        """Return the series that no step acts on, longest in their state first. before: whose state is older."""
        marks = ", ".join("?" * len(PURGEABLE))
        ids = self.database.query(
            f"SELECT id FROM series WHERE state IN ({marks}) AND (? IS NULL OR state_at <= ?)"
            " ORDER BY state_at, id",
            (*PURGEABLE, before, before),
        ).fetchall()
        for row in ids:
            found = self._purgeable(row["id"])
            if found is not None:  # it moved on meanwhile
                yield found

    def candidate(self, series_id: int) -> Purgeable | None:
        """Return one series; None while a step may act on it."""
        return self._purgeable(series_id)

    def kept_bytes(self) -> int:
        """Return the bytes of all objects whose files are kept."""
        return int(
            self.database.query(
                "SELECT coalesce(sum(bytes), 0) FROM instance WHERE state <> 'purged'"
            ).fetchone()[0]
        )

    def quarantined(self) -> list[Quarantined]:
        """Return the quarantined objects, oldest first."""
        rows = self.database.query(
            "SELECT i.rowid, s.study, s.series, i.series_id, i.path, i.bytes, i.received_at"
            " FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = 'quarantined'"
            " ORDER BY i.received_at, i.rowid"
        )
        return [
            Quarantined(
                r["rowid"], SeriesKey(r["study"], r["series"]), r["series_id"],
                self.database.root / r["path"], r["bytes"], r["received_at"],
            )
            for r in rows
        ]  # fmt: skip

    def unfinished(self) -> list[Leaving]:
        """Return what is marked and may still be there."""
        rows = self.database.query(
            "SELECT DISTINCT i.series_id, s.study, s.series FROM instance i JOIN series s ON s.id = i.series_id"
            " WHERE i.state = 'purging'"
        ).fetchall()
        return [self._leaving(r["series_id"], SeriesKey(r["study"], r["series"])) for r in rows]

    # --- moves ---

    def begin(self, seen: Purgeable, reason: str, by: str = "") -> Leaving:
        """Mark a series and all that is kept of it, if it is as it was seen. by: who asks, "" for the node.

        Raises:
            IllegalTransition: something happened to it meanwhile.
        """
        with self.database.transaction() as tx:
            if self._purgeable(seen.id) != seen:
                raise IllegalTransition(
                    f"series {seen.key.series} has changed meanwhile; ask again"
                )
            tx.execute(
                "UPDATE instance SET state = ? WHERE series_id = ? AND state <> ?",
                (InstanceState.PURGING, seen.id, InstanceState.PURGED),
            )
            tx.execute(
                "UPDATE result SET purged_at = ? WHERE series_id = ? AND purged_at IS NULL",
                (tx.now(), seen.id),
            )
            tx.execute("UPDATE series SET instances = 0 WHERE id = ?", (seen.id,))
            detail = {
                "reason": reason, "by": by, "before": str(seen.state), "objects": seen.objects, "bytes": seen.bytes,
            }  # fmt: skip
            self.series.move(tx, seen.id, SeriesState.PURGED, SeriesEvent.PURGED, detail)
            return self._leaving(seen.id, seen.key)

    def begin_quarantined(
        self, chosen: Sequence[Quarantined], reason: str, by: str = ""
    ) -> list[Leaving]:
        """Mark quarantined objects; those that are not quarantined any more are left out."""
        with self.database.transaction() as tx:
            marked: dict[int, list[Quarantined]] = {}
            for one in chosen:
                cursor = tx.execute(
                    "UPDATE instance SET state = ? WHERE rowid = ? AND state = ?",
                    (InstanceState.PURGING, one.rowid, InstanceState.QUARANTINED),
                )
                if cursor.rowcount:
                    marked.setdefault(one.series_id, []).append(one)
            for series_id, objects in marked.items():
                self._record(tx, series_id, objects, reason, by)
            return [self._leaving(n, objects[0].key) for n, objects in marked.items()]

    def end(self, series_id: int) -> None:
        """Record that the files of a series that were marked are gone."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE instance SET state = ? WHERE series_id = ? AND state = ?",
                (InstanceState.PURGED, series_id, InstanceState.PURGING),
            )

    def record_missing(self, sop_instance_uid: str, digest: str) -> None:
        """Record that the file of an object that is not used (superseded, quarantined) is gone."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE instance SET state = ? WHERE sop_instance = ? AND digest = ?"
                " AND state IN ('quarantined', 'superseded')",
                (InstanceState.PURGED, sop_instance_uid, digest),
            )

    def record_missing_result(self, result_id: str) -> None:
        """Record that the folder of a result is gone."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE result SET purged_at = ? WHERE result_id = ? AND purged_at IS NULL",
                (tx.now(), result_id),
            )

    # --- parts ---

    def _record(
        self,
        tx: Transaction,
        series_id: int,
        objects: Sequence[Quarantined],
        reason: str,
        by: str,
    ) -> None:
        """Record what was marked; a series that has nothing else is purged with it."""
        detail: dict[str, object] = {
            "reason": reason, "by": by, "objects": len(objects), "bytes": sum(o.bytes for o in objects),
        }  # fmt: skip
        state = read_state(
            SeriesState,
            tx.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()["state"],
        )
        rest = tx.execute(
            "SELECT 1 FROM instance WHERE series_id = ? AND state NOT IN ('purging', 'purged') LIMIT 1",
            (series_id,),
        ).fetchone()
        if state is SeriesState.QUARANTINED and rest is None:
            self.series.move(tx, series_id, SeriesState.PURGED, SeriesEvent.PURGED, detail)
        else:
            tx.event(series_id, QUARANTINE_PURGED, state, detail)

    def _leaving(self, series_id: int, key: SeriesKey) -> Leaving:
        files = self.database.query(
            f"SELECT path FROM instance i WHERE series_id = ? AND state = 'purging' AND NOT {_SHARED}",
            (series_id,),
        ).fetchall()
        # The same bytes under another SOP Instance UID of the command are one file of the quarantine.
        used = {
            r["path"]
            for r in self.database.query("SELECT path FROM instance WHERE state = 'quarantined'")
        }
        folders = self.database.query(
            "SELECT folder FROM result WHERE series_id = ? AND purged_at IS NOT NULL", (series_id,)
        )
        root = self.database.root
        return Leaving(
            series_id,
            key,
            tuple(root / r["path"] for r in files if r["path"] not in used),
            tuple(root / r["folder"] for r in folders),
        )

    def _purgeable(self, series_id: int) -> Purgeable | None:
        row = self.database.query(_SERIES + "WHERE s.id = ?", (series_id,)).fetchone()
        if row is None or row["state"] not in PURGEABLE:
            return None
        deliveries = self.database.query(_DELIVERIES, (series_id,)).fetchall()
        folders = self.database.query(_RESULTS, (series_id,))
        newest = [d for d in deliveries if d["newest"] and d["kind"] != WITHDRAWAL]
        confirmed = [d for d in newest if d["state"] == "confirmed"]
        proven = [d for d in confirmed if d["proof"] in _PROVEN]
        return Purgeable(
            id=row["id"],
            key=SeriesKey(row["study"], row["series"]),
            state=read_state(SeriesState, row["state"]),
            reason=row["reason"],
            fault=row["fault"],
            state_at=row["state_at"],
            last_at=row["last_at"],
            objects=row["objects"],
            bytes=row["bytes"],
            folders=tuple(self.database.root / f["folder"] for f in folders),
            proven_at=max(d["state_at"] for d in proven)
            if proven and len(proven) == len(newest)
            else None,
            undelivered=_names(d for d in newest if d["state"] != "confirmed"),
            unproven=_names(d for d in confirmed if d["proof"] not in _PROVEN),
            withdrawals=_names(d for d in deliveries if _to_take_back(d)),
            on_its_way=any(d["state"] in {"pending", "sent", "waiting"} for d in deliveries),
        )


def _to_take_back(row: sqlite3.Row) -> bool:
    """Return whether a destination holds a superseded result, or its withdrawal has not arrived."""
    if row["kind"] == WITHDRAWAL:
        return bool(row["state"] != "confirmed")
    held = row["accepted"] != "[]" or row["state"] in {"sent", "confirmed"}
    return bool(row["superseded_because"] and held and not row["taken_back"])


def _names(rows: Iterable[sqlite3.Row]) -> tuple[str, ...]:
    # A delivery whose result was superseded is not wanted there any more.
    return tuple(dict.fromkeys(r["destination"] for r in rows if r["detail"] != SUPERSEDED))
