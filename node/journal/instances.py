"""The journal's objects: stored, quarantined, set aside later, superseded by a correction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from node.journal.database import state_of
from node.journal.deliveries import DeliveryTable
from node.journal.rows import InstanceFacts, InstanceRow, SeriesKey
from node.journal.series import SeriesTable
from node.journal.states import InstanceState, SeriesEvent, SeriesState

CONFLICT: Final = "the same SOP Instance UID came with other content; the first one is used"
CORRECTED: Final = "its header was corrected: the same pixels came with another identity"
LONGEST_NAME: Final = 128
"""Characters of a study or series UID that names a row: longer than a UID may be (64), so that an object
that is quarantined for a long UID still has its own row; no longer, whatever is sent."""

Added = Literal["stored", "same", "conflict"]
Corrected = Literal["corrected", "same", "stored"]

_INSTANCE: Final = (
    "SELECT i.sop_instance, i.digest, i.sop_class, i.transfer_syntax, i.path, i.bytes, i.calling_ae, i.state,"
    " i.reason, i.received_at, i.superseded_by, s.study, s.series"
    " FROM instance i LEFT JOIN series s ON s.id = i.series_id "
)


class InstanceTable(SeriesTable, DeliveryTable):
    """All that is known of every object, and of the series it belongs to."""

    # --- what came ---

    def add_instance(self, facts: InstanceFacts) -> Added:
        """Record one durable object.

        stored: new; its series is (again) receiving. same: these bytes are known, nothing changes.
        conflict: the UID is known with other bytes; recorded as quarantined, what is stored stays so.
        """
        with self._writing() as db:
            known = self._known(db, facts.sop_instance_uid)
            if facts.digest in known:
                return "same"
            if InstanceState.STORED in known.values():
                self._quarantine(db, facts, CONFLICT)
                return "conflict"
            self._store(db, facts, SeriesEvent.INSTANCE_STORED, {})
            return "stored"

    def correct(self, facts: InstanceFacts) -> Corrected:
        """Put an object in the place of the stored one with its SOP Instance UID, in one transaction.

        For an object whose pixels are those of the stored one and whose identity is another: the newest
        header is right. The caller compares; here is no file read. The old row keeps its file and digest,
        is `superseded` and names the new one. The series of the new object (which may be another one, of
        another study) is receiving again, its event is `instance_corrected`; a series that lost the
        object has `instance_superseded`, or `all_superseded` when that was its last.

        corrected: done. same: these bytes are the stored ones, or are quarantined; nothing changes.
        stored: no object with this UID was stored; it is recorded as `add_instance` does.

        An object that was superseded may come again and is then the newest; the next result of its series
        has new UIDs, since the former one was withdrawn.
        """
        with self._writing() as db:
            known = self._known(db, facts.sop_instance_uid)
            if known.get(facts.digest) in {InstanceState.STORED, InstanceState.QUARANTINED}:
                return "same"
            old = self._stored(db, facts.sop_instance_uid)
            if old is None:
                self._store(db, facts, SeriesEvent.INSTANCE_STORED, {})
                return "stored"
            self._supersede(db, old, facts)
            self._outdate_results(db, old["series_id"], "corrected_identity")
            detail = {
                "sop_instance": facts.sop_instance_uid,
                "before": old["digest"],
                "now": facts.digest,
            }
            series_id = self._store(db, facts, SeriesEvent.INSTANCE_CORRECTED, detail)
            if facts.digest in known:
                db.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (series_id,))
            return "corrected"

    def quarantine(self, facts: InstanceFacts, reason: str) -> None:
        """Record an object that cannot be used; the same bytes twice are one row.

        Its series has a row too, in the state `quarantined` while nothing of it is stored.
        """
        with self._writing() as db:
            self._quarantine(db, facts, reason)

    def set_aside(self, sop_instance_uid: str, digest: str, reason: str) -> bool:
        """Quarantine a stored object that turned out to be unreadable; its file stays where it is.

        What is left of its series is judged again (`receiving`), also when it had a result; a series with
        nothing left is `quarantined`. A claim on it is lost. False: it was not stored (any more).
        """
        with self._writing() as db:
            old = self._stored(db, sop_instance_uid)
            if old is None or old["digest"] != digest:
                return False
            # One reason for all objects with one fault, whatever their files are called.
            reason = reason.removeprefix(f"{Path(old['path']).name}: ")
            db.execute(
                "UPDATE instance SET state = ?, reason = ? WHERE sop_instance = ? AND digest = ?",
                (InstanceState.QUARANTINED, reason, sop_instance_uid, digest),
            )
            detail: dict[str, object] = {"sop_instance": sop_instance_uid, "reason": reason}
            self._lose(
                db,
                old["series_id"],
                SeriesEvent.INSTANCE_SET_ASIDE,
                SeriesEvent.ALL_QUARANTINED,
                detail,
            )
            return True

    # --- questions ---

    def instances_of(self, key: SeriesKey, skip: int = 0) -> list[InstanceRow]:
        """Stored objects of a series, in order of arrival, without the first `skip`."""
        return self._instances(
            "WHERE s.study = ? AND s.series = ? AND i.state = 'stored' ORDER BY i.rowid"
            " LIMIT -1 OFFSET ?",
            *key,
            skip,
        )

    def unused_of(self, key: SeriesKey) -> list[InstanceRow]:
        """Quarantined and superseded objects of a series, in order of arrival."""
        return self._instances(
            "WHERE s.study = ? AND s.series = ? AND i.state <> 'stored' ORDER BY i.rowid", *key
        )

    def all_instances(self) -> Iterator[InstanceRow]:
        """Every object, one after the other: there may be millions."""
        for row in self._connection.execute(_INSTANCE + "ORDER BY i.rowid"):
            yield self._instance_row(row)

    def quarantined(self) -> list[InstanceRow]:
        """Objects that were kept but cannot be used."""
        return self._instances("WHERE i.state = 'quarantined' ORDER BY i.rowid")

    def instances_named(self, sop_instance_uid: str) -> list[InstanceRow]:
        """Every object with this SOP Instance UID, whatever its state, in order of arrival."""
        return self._instances("WHERE i.sop_instance = ? ORDER BY i.rowid", sop_instance_uid)

    def unused_counts(self) -> dict[SeriesKey, Counter[tuple[InstanceState, str]]]:
        """How many objects of each series are quarantined or superseded, by state and reason."""
        rows = self._connection.execute(
            "SELECT s.study, s.series, i.state, i.reason, count(*) AS objects FROM instance i"
            " LEFT JOIN series s ON s.id = i.series_id WHERE i.state IN ('quarantined', 'superseded')"
            " GROUP BY i.series_id, i.state, i.reason ORDER BY min(i.rowid)"
        )
        counts: dict[SeriesKey, Counter[tuple[InstanceState, str]]] = {}
        for r in rows:
            key = SeriesKey(r["study"] or "", r["series"] or "")
            counts.setdefault(key, Counter())[state_of(InstanceState, r["state"]), r["reason"]] += (
                r["objects"]
            )
        return counts

    def paths(self) -> set[str]:
        """Every path an instance row names, for comparing journal and disk."""
        rows = self._connection.execute("SELECT path FROM instance")
        return {str(self._place(r["path"])) for r in rows}

    def stored_digest(self, sop_instance_uid: str) -> tuple[str, Path] | None:
        """Digest and path of the stored object with this UID."""
        row = self._stored(self._connection, sop_instance_uid)
        return None if row is None else (row["digest"], self._place(row["path"]))

    # --- inside a transaction ---

    def _known(self, db: sqlite3.Connection, sop_instance_uid: str) -> dict[str, InstanceState]:
        rows = db.execute(
            "SELECT digest, state FROM instance WHERE sop_instance = ?", (sop_instance_uid,)
        )
        return {r["digest"]: state_of(InstanceState, r["state"]) for r in rows}

    def _stored(self, db: sqlite3.Connection, sop_instance_uid: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "SELECT digest, path, series_id FROM instance WHERE sop_instance = ? AND state = 'stored'",
            (sop_instance_uid,),
        ).fetchone()
        return row

    def _store(
        self,
        db: sqlite3.Connection,
        facts: InstanceFacts,
        event: SeriesEvent,
        detail: dict[str, object],
    ) -> int:
        series_id = self._received(db, SeriesKey(facts.study_uid, facts.series_uid), event, detail)
        self._insert(db, facts, series_id, InstanceState.STORED, "")
        return series_id

    def _supersede(self, db: sqlite3.Connection, old: sqlite3.Row, facts: InstanceFacts) -> None:
        """Mark the stored row; its series loses the object, unless the new one is of the same series."""
        db.execute(
            "UPDATE instance SET state = ?, reason = ?, superseded_by = ? WHERE sop_instance = ? AND digest = ?",
            (
                InstanceState.SUPERSEDED,
                CORRECTED,
                facts.digest,
                facts.sop_instance_uid,
                old["digest"],
            ),
        )
        into = self._series_id(db, SeriesKey(facts.study_uid, facts.series_uid))
        if into == old["series_id"]:
            db.execute("UPDATE series SET instances = instances - 1 WHERE id = ?", (into,))
            return
        detail: dict[str, object] = {
            "sop_instance": facts.sop_instance_uid, "before": old["digest"], "now": facts.digest,
            "reason": f"corrected: now in series {facts.series_uid} of study {facts.study_uid}",
        }  # fmt: skip
        self._lose(
            db,
            old["series_id"],
            SeriesEvent.INSTANCE_SUPERSEDED,
            SeriesEvent.ALL_SUPERSEDED,
            detail,
        )

    def _quarantine(self, db: sqlite3.Connection, facts: InstanceFacts, reason: str) -> None:
        if facts.digest in self._known(db, facts.sop_instance_uid):
            return
        key = SeriesKey(_name(facts.study_uid), _name(facts.series_uid))
        series_id = self._series_id(db, key)
        if series_id is None:
            series_id = self._open_series(db, key, SeriesState.QUARANTINED, instances=0)
        self._insert(db, facts, series_id, InstanceState.QUARANTINED, reason)
        state = db.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()[
            "state"
        ]
        detail = {"sop_instance": facts.sop_instance_uid, "digest": facts.digest, "reason": reason}
        self._event(db, series_id, "instance_quarantined", state, detail)

    def _insert(
        self,
        db: sqlite3.Connection,
        facts: InstanceFacts,
        series_id: int,
        state: InstanceState,
        reason: str,
    ) -> None:
        """Write one row; one with these bytes that was superseded becomes this one."""
        db.execute(
            "INSERT OR REPLACE INTO instance (sop_instance, digest, series_id, sop_class, transfer_syntax, path,"
            " bytes, calling_ae, state, reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                facts.sop_instance_uid, facts.digest, series_id, facts.sop_class_uid, facts.transfer_syntax_uid,
                self._kept(facts.path), facts.bytes, facts.calling_ae, state, reason, self._now(),
            ),
        )  # fmt: skip

    def _instances(self, where: str, *values: str | int) -> list[InstanceRow]:
        rows = self._connection.execute(_INSTANCE + where, values)
        return [self._instance_row(r) for r in rows]

    def _instance_row(self, r: sqlite3.Row) -> InstanceRow:
        return InstanceRow(
            r["sop_instance"], r["digest"], r["sop_class"], r["transfer_syntax"], self._place(r["path"]),
            r["bytes"], r["calling_ae"], state_of(InstanceState, r["state"]), r["reason"], r["received_at"],
            SeriesKey(r["study"] or "", r["series"] or ""), r["superseded_by"],
        )  # fmt: skip


def _name(uid: str) -> str:
    """Return what names a row: the UID as it came, or "" where it is no UID but its length."""
    # Anything may stand in the place of a UID, a patient's name too.
    return uid if set(uid) <= set("0123456789.") and len(uid) <= LONGEST_NAME else ""
