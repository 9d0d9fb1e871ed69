"""The journal's objects: stored, quarantined, set aside later, superseded by a correction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from node.errors import BeingPurged
from node.journal.columns import read_state
from node.journal.database import Transaction
from node.journal.instance_queries import STORED, InstanceQueries
from node.journal.results import ResultTable
from node.journal.rows import LONGEST_NAME, UID_SIGNS, NewInstance, SeriesKey, row_uid
from node.journal.series import SeriesTable
from node.journal.states import InstanceState, SeriesEvent, SeriesState

CONFLICT: Final = "the same SOP Instance UID came with other content; the first one is used"
CORRECTED: Final = "its header was corrected: the same pixels came with another identity"
DAMAGED: Final = "-damaged"
"""Behind the digest of an object whose file is not what was received any more."""
Added = Literal["stored", "same", "conflict"]
Corrected = Literal["corrected", "same", "stored"]


@dataclass(frozen=True, slots=True)
class InstanceTable(InstanceQueries):
    """All that is known of every object."""

    series: SeriesTable
    results: ResultTable

    # --- what came ---

    def add(self, new: NewInstance) -> Added:
        """Record one durable object.

        stored: new, or purged before; its series is (again) receiving. same: these bytes are known, nothing
        changes. conflict: the UID is known with other bytes; recorded as quarantined, what is stored stays so.

        Raises:
            BeingPurged: its file is being removed just now.
        """
        return self.add_all([new])[0]

    def add_all(self, news: Sequence[NewInstance]) -> list[Added]:
        """Record several durable objects, in order and in one transaction, as `add`."""
        with self.database.transaction() as tx:
            return [self._add(tx, _named(new)) for new in news]

    def _add(self, tx: Transaction, new: NewInstance) -> Added:
        known = self._known(tx, new.sop_instance_uid)
        if _is_kept(known, new.digest):
            return "same"
        if InstanceState.STORED in known.values():
            self._quarantine(tx, new, CONFLICT)
            return "conflict"
        damaged = new.digest + DAMAGED in known
        series_id = self._store(tx, new, SeriesEvent.INSTANCE_STORED, {}, damaged=damaged)
        if InstanceState.PURGED in known.values():
            self._correct_purged(tx, new, series_id)
        return "stored"

    def _correct_purged(self, tx: Transaction, new: NewInstance, series_id: int) -> None:
        """Outdate the results of another series that had this object, before its file was removed.

        Its pixels cannot be compared any more; an object that comes in another series has another identity.
        """
        rows = tx.execute(
            "UPDATE instance SET superseded_by = ? WHERE sop_instance = ? AND state = 'purged'"
            " AND series_id <> ? AND reason = '' RETURNING series_id",
            (new.digest, new.sop_instance_uid, series_id),
        ).fetchall()
        for row in rows:
            self.results.outdate(tx, row["series_id"], "corrected_identity")

    def correct(self, new: NewInstance) -> Corrected:
        """Put an object in the place of the stored one with its SOP Instance UID, in one transaction.

        For an object whose pixels are those of the stored one and whose identity is another: the newest
        header is right. The caller compares; here is no file read. The old row keeps its file and digest,
        is `superseded` and names the new one. The series of the new object (which may be another one, of
        another study) is receiving again, its event is `instance_corrected`; a series that lost the
        object has `instance_superseded`, or `all_superseded` when that was its last.

        corrected: done. same: these bytes are the stored ones, or are quarantined; nothing changes.
        stored: no object with this UID was stored; it is recorded as `add` does.

        An object that was superseded may come again and is then the newest; the next result of its series
        has new UIDs, since the former one was withdrawn.
        """
        new = _named(new)
        with self.database.transaction() as tx:
            known = self._known(tx, new.sop_instance_uid)
            if _is_kept(known, new.digest) and known[new.digest] is not InstanceState.SUPERSEDED:
                return "same"
            old = self._stored(tx, new.sop_instance_uid)
            if old is None:
                self._store(tx, new, SeriesEvent.INSTANCE_STORED, {})
                return "stored"
            self._supersede(tx, old, new)
            self.results.outdate(tx, old["series_id"], "corrected_identity")
            detail = {
                "sop_instance": new.sop_instance_uid,
                "before": old["digest"],
                "now": new.digest,
            }
            series_id = self._store(tx, new, SeriesEvent.INSTANCE_CORRECTED, detail)
            if new.digest in known:
                tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (series_id,))
            return "corrected"

    def quarantine(self, new: NewInstance, reason: str) -> None:
        """Record an object that cannot be used; the same bytes twice are one row.

        Its series has a row too, in the state `quarantined` while nothing of it is stored.
        """
        with self.database.transaction() as tx:
            self._quarantine(tx, _named(new), reason)

    def set_aside(
        self,
        sop_instance_uid: str,
        digest: str,
        reason: str,
        *,
        damaged: bool = False,
        reopen: bool = True,
    ) -> bool:
        """Quarantine a stored object that turned out to be unreadable; its file stays where it is.

        damaged: the file is gone, or is not what was received. The bytes that were received were good,
        and may come again: they are then stored, and this row is gone.

        What is left of its series is judged again (`receiving`), also when it had a result; a series with
        nothing left is `quarantined`. A claim on it is lost. False: it was not stored (any more).
        reopen: False leaves the series in its state, for one that needs its objects no more.
        """
        sop_instance_uid = row_uid(sop_instance_uid)
        with self.database.transaction() as tx:
            old = self._stored(tx, sop_instance_uid)
            if old is None or old["digest"] != digest:
                return False
            # One reason for all objects with one fault, whatever their files are called.
            reason = reason.removeprefix(f"{Path(old['path']).name}: ")
            tx.execute(
                "UPDATE OR REPLACE instance SET digest = ?, state = ?, reason = ?"
                " WHERE sop_instance = ? AND digest = ?",
                (
                    digest + DAMAGED if damaged else digest,
                    InstanceState.QUARANTINED, reason, sop_instance_uid, digest,
                ),
            )  # fmt: skip
            detail: dict[str, object] = {"sop_instance": sop_instance_uid, "reason": reason}
            if not reopen:
                self.series.count_missing(tx, old["series_id"], detail)
                return True
            self.series.count_lost(
                tx,
                old["series_id"],
                SeriesEvent.INSTANCE_SET_ASIDE,
                SeriesEvent.ALL_QUARANTINED,
                detail,
            )
            return True

    # --- inside a transaction ---

    def _known(self, tx: Transaction, sop_instance_uid: str) -> dict[str, InstanceState]:
        rows = tx.execute(
            "SELECT digest, state FROM instance WHERE sop_instance = ?", (sop_instance_uid,)
        )
        return {r["digest"]: read_state(InstanceState, r["state"]) for r in rows}

    def _stored(self, tx: Transaction, sop_instance_uid: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = tx.execute(STORED, (sop_instance_uid,)).fetchone()
        return row

    def _store(
        self,
        tx: Transaction,
        new: NewInstance,
        event: SeriesEvent,
        detail: dict[str, object],
        *,
        damaged: bool = True,
    ) -> int:
        """Write a stored row. damaged: there may be a row of these bytes whose file was damaged, and goes."""
        series_id = self.series.count_stored(
            tx, SeriesKey(new.study_uid, new.series_uid), event, detail
        )
        if damaged:
            tx.execute(
                "DELETE FROM instance WHERE sop_instance = ? AND digest = ?",
                (new.sop_instance_uid, new.digest + DAMAGED),
            )
        self._insert(tx, new, series_id, InstanceState.STORED, "")
        return series_id

    def _supersede(self, tx: Transaction, old: sqlite3.Row, new: NewInstance) -> None:
        """Mark the stored row; its series loses the object, unless the new one is of the same series."""
        tx.execute(
            "UPDATE instance SET state = ?, reason = ?, superseded_by = ? WHERE sop_instance = ? AND digest = ?",
            (
                InstanceState.SUPERSEDED,
                CORRECTED,
                new.digest,
                new.sop_instance_uid,
                old["digest"],
            ),
        )
        into = self.series.find_id(tx, SeriesKey(new.study_uid, new.series_uid))
        if into == old["series_id"]:
            tx.execute("UPDATE series SET instances = instances - 1 WHERE id = ?", (into,))
            return
        detail: dict[str, object] = {
            "sop_instance": new.sop_instance_uid, "before": old["digest"], "now": new.digest,
            "reason": f"corrected: now in series {new.series_uid} of study {new.study_uid}",
        }  # fmt: skip
        self.series.count_lost(
            tx,
            old["series_id"],
            SeriesEvent.INSTANCE_SUPERSEDED,
            SeriesEvent.ALL_SUPERSEDED,
            detail,
        )

    def _quarantine(self, tx: Transaction, new: NewInstance, reason: str) -> None:
        if _is_kept(self._known(tx, new.sop_instance_uid), new.digest):
            return
        key = SeriesKey(_name(new.study_uid), _name(new.series_uid))
        series_id = self.series.find_id(tx, key)
        if series_id is None:
            series_id = self.series.insert(tx, key, SeriesState.QUARANTINED, instances=0)
        self._insert(tx, new, series_id, InstanceState.QUARANTINED, reason)
        state = tx.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()[
            "state"
        ]
        uid = _name(new.sop_instance_uid)
        detail = {"sop_instance": uid, "digest": new.digest, "reason": reason}
        tx.event(series_id, "instance_quarantined", state, detail)

    def _insert(
        self,
        tx: Transaction,
        new: NewInstance,
        series_id: int,
        state: InstanceState,
        reason: str,
    ) -> None:
        """Write one row; one with these bytes that was superseded becomes this one."""
        tx.execute(
            "INSERT OR REPLACE INTO instance (sop_instance, digest, series_id, sop_class, transfer_syntax, path,"
            " bytes, calling_ae, state, reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.sop_instance_uid, new.digest, series_id, new.sop_class_uid, new.transfer_syntax_uid,
                self.database.relative(new.path), new.bytes, new.calling_ae, state, reason, tx.now(),
            ),
        )  # fmt: skip


def _named(new: NewInstance) -> NewInstance:
    """Return an object as its row names it: what is no UID may be a patient's name, and stays in the file."""
    uid = row_uid(new.sop_instance_uid)
    return new if uid == new.sop_instance_uid else replace(new, sop_instance_uid=uid)


def _is_kept(known: Mapping[str, InstanceState], digest: str) -> bool:
    """Return whether an object's file is there by its row. Raises `BeingPurged`."""
    state = known.get(digest)
    if state is InstanceState.PURGING:
        raise BeingPurged("this object is being purged; send it again")
    return state is not None and state is not InstanceState.PURGED


def _name(uid: str) -> str:
    """Return what names a row: the UID as it came, or "" where it is no UID but its length."""
    return uid if set(uid) <= UID_SIGNS and len(uid) <= LONGEST_NAME else ""
