"""The journal's objects and series: what came, in which state, claimed by whom."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from node.database import Database
from node.errors import ClaimLost, IllegalTransition, UnknownUid
from node.records import EventRow, InstanceFacts, InstanceRow, SeriesKey, SeriesRow
from node.states import SERIES_TRANSITIONS, InstanceState, SeriesEvent, SeriesState

_SERIES: Final = (
    "SELECT id, study, series, state, reason, token, token_at, attempts, forced, instances, first_at, last_at, state_at"
    " FROM series "
)
_NAMED: Final = (
    "WHERE study = :u OR series = :u"
    " OR id IN (SELECT series_id FROM instance WHERE sop_instance = :u)"
    " OR id IN (SELECT series_id FROM result WHERE result_id = :u) "
)
Added = Literal["stored", "same", "conflict"]


def _series_row(row: Sequence[Any]) -> SeriesRow:
    return SeriesRow(row[0], SeriesKey(row[1], row[2]), SeriesState(row[3]), *row[4:])


class SeriesTable(Database):
    """All that is known of every object and series."""

    # --- instances ---

    def add_instance(self, facts: InstanceFacts) -> Added:
        """Record one durable object.

        stored: new; its series is (again) receiving. same: these bytes are known, nothing changes.
        conflict: the UID is known with other bytes; recorded as quarantined, the series is untouched.
        """
        with self._writing() as db:
            known = db.execute(
                "SELECT digest, state FROM instance WHERE sop_instance = ?",
                (facts.sop_instance_uid,),
            ).fetchall()
            if any(digest == facts.digest for digest, _ in known):
                return "same"
            now = self._now()
            if any(state == InstanceState.STORED for _, state in known):
                self._insert(db, facts, None, InstanceState.QUARANTINED, "conflicting", now)
                return "conflict"
            series_id = self._received(db, SeriesKey(facts.study_uid, facts.series_uid), now)
            self._insert(db, facts, series_id, InstanceState.STORED, "", now)
            return "stored"

    def quarantine(self, facts: InstanceFacts, reason: str) -> None:
        """Record an object that cannot be used; the same bytes twice are one row."""
        with self._writing() as db:
            self._insert(db, facts, None, InstanceState.QUARANTINED, reason, self._now())

    def _insert(
        self,
        db: sqlite3.Connection,
        facts: InstanceFacts,
        series_id: int | None,
        state: InstanceState,
        reason: str,
        now: float,
    ) -> None:
        db.execute(
            "INSERT OR IGNORE INTO instance VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                facts.sop_instance_uid, facts.digest, series_id, facts.sop_class_uid, facts.transfer_syntax_uid,
                self._kept(facts.path), facts.bytes, facts.calling_ae, state, reason, now,
            ),
        )  # fmt: skip

    def _received(self, db: sqlite3.Connection, key: SeriesKey, now: float) -> int:
        row = db.execute(
            "SELECT id, state FROM series WHERE study = ? AND series = ?", key
        ).fetchone()
        if row is None:
            cursor = db.execute(
                "INSERT INTO series (study, series, state, instances, first_at, last_at, state_at) VALUES (?, ?, ?, 1, ?, ?, ?)",
                (*key, SeriesState.RECEIVING, now, now, now),
            )
            series_id = int(cursor.lastrowid or 0)
            self._event(db, series_id, SeriesEvent.INSTANCE_STORED, SeriesState.RECEIVING, {})
            return series_id
        series_id, state = int(row[0]), SeriesState(row[1])
        db.execute(
            "UPDATE series SET instances = instances + 1, last_at = ? WHERE id = ?",
            (now, series_id),
        )
        if state is not SeriesState.RECEIVING:
            self._move(
                db,
                series_id,
                SERIES_TRANSITIONS[state, SeriesEvent.INSTANCE_STORED],
                SeriesEvent.INSTANCE_STORED,
                {"late": True},
            )
        return series_id

    def instances_of(self, key: SeriesKey) -> list[InstanceRow]:
        """Stored objects of a series, in order of arrival."""
        rows = self._connection.execute(
            "SELECT i.sop_instance, i.digest, i.sop_class, i.transfer_syntax, i.path, i.bytes, i.calling_ae, i.state, i.reason, i.received_at"
            " FROM instance i JOIN series s ON s.id = i.series_id WHERE s.study = ? AND s.series = ? AND i.state = 'stored' ORDER BY i.rowid",
            key,
        )
        return [self._instance_row(r) for r in rows]

    def quarantined(self) -> list[InstanceRow]:
        """Objects that were kept but are not used."""
        rows = self._connection.execute(
            "SELECT sop_instance, digest, sop_class, transfer_syntax, path, bytes, calling_ae, state, reason, received_at"
            " FROM instance WHERE state = 'quarantined' ORDER BY rowid"
        )
        return [self._instance_row(r) for r in rows]

    def paths(self) -> set[str]:
        """Every path an instance row names, for comparing journal and disk."""
        return {
            str(self._place(r[0])) for r in self._connection.execute("SELECT path FROM instance")
        }

    def stored_digest(self, sop_instance_uid: str) -> tuple[str, Path] | None:
        """Digest and path of the stored object with this UID."""
        row = self._connection.execute(
            "SELECT digest, path FROM instance WHERE sop_instance = ? AND state = 'stored'",
            (sop_instance_uid,),
        ).fetchone()
        return None if row is None else (row[0], self._place(row[1]))

    def _instance_row(self, r: Sequence[Any]) -> InstanceRow:
        return InstanceRow(
            r[0], r[1], r[2], r[3], self._place(r[4]), r[5], r[6], InstanceState(r[7]), r[8], r[9]
        )

    # --- series ---

    def series(self, key: SeriesKey) -> SeriesRow:
        """One series. Raises `UnknownUid`."""
        row = self._connection.execute(_SERIES + "WHERE study = ? AND series = ?", key).fetchone()
        if row is None:
            raise UnknownUid(
                f"no series {key.series} in study {key.study}; `lumbar-node list` shows what there is"
            )
        return _series_row(row)

    def series_in(self, *states: SeriesState) -> list[SeriesRow]:
        """Series in these states, or all without any, oldest slice first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))}) " if states else ""
        rows = self._connection.execute(_SERIES + where + "ORDER BY last_at, id", states)
        return [_series_row(r) for r in rows]

    def study_series(self, study: str) -> list[SeriesRow]:
        """All series of a study."""
        rows = self._connection.execute(_SERIES + "WHERE study = ? ORDER BY id", (study,))
        return [_series_row(r) for r in rows]

    def find(self, uid: str) -> list[SeriesRow]:
        """Series by study, series, instance or result UID. Raises `UnknownUid`."""
        rows = self._connection.execute(
            _SERIES + _NAMED + "ORDER BY id",
            {"u": uid},
        ).fetchall()
        if not rows:
            raise UnknownUid(f"{uid} is not in the journal; `lumbar-node list` shows what there is")
        return [_series_row(r) for r in rows]

    def advance(
        self,
        key: SeriesKey,
        event: SeriesEvent,
        *,
        expect: str | None = None,
        detail: Mapping[str, object] | None = None,
        seen: int | None = None,
    ) -> SeriesState:
        """Apply one event, if the state table has it, the claim is `expect` and `seen` slices are there.

        Raises:
            IllegalTransition: no such pair, or another number of instances than was seen.
            ClaimLost: another claim, or none.
        """
        with self._writing() as db:
            return self._advance(db, self._locked(db, key), event, expect, dict(detail or {}), seen)

    def _locked(self, db: sqlite3.Connection, key: SeriesKey) -> SeriesRow:
        row = db.execute(_SERIES + "WHERE study = ? AND series = ?", key).fetchone()
        if row is None:
            raise UnknownUid(f"no series {key.series} in study {key.study}")
        return _series_row(row)

    def _advance(
        self,
        db: sqlite3.Connection,
        row: SeriesRow,
        event: SeriesEvent,
        expect: str | None,
        detail: dict[str, object],
        seen: int | None = None,
    ) -> SeriesState:
        if expect is not None and row.token != expect:
            raise ClaimLost(f"series {row.key.series}: the claim is gone, {event} is dropped")
        target = SERIES_TRANSITIONS.get((row.state, event))
        if target is None or (seen is not None and seen != row.instances):
            raise IllegalTransition(
                f"series {row.key.series}: {event} does not fit {row.state} with {row.instances} instances"
            )
        self._move(db, row.id, target, event, detail)
        return target

    def _move(
        self,
        db: sqlite3.Connection,
        series_id: int,
        target: SeriesState,
        event: SeriesEvent,
        detail: dict[str, object],
    ) -> None:
        keep_token = target is SeriesState.PROCESSING
        fresh = event in {SeriesEvent.INSTANCE_STORED, SeriesEvent.RETRY_REQUESTED}
        db.execute(
            "UPDATE series SET state = ?, reason = ?, state_at = ?, token = CASE WHEN ? THEN token END,"
            " attempts = CASE WHEN ? THEN 0 ELSE attempts END WHERE id = ?",
            (target, str(detail.get("reason", "")), self._now(), keep_token, fresh, series_id),
        )
        self._event(db, series_id, event, target, detail)

    def events_of(self, key: SeriesKey) -> list[EventRow]:
        """History of a series and its deliveries, oldest first."""
        rows = self._connection.execute(
            "SELECT e.id, e.at, e.event, e.state, e.detail, e.delivery_id FROM event e JOIN series s ON s.id = e.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY e.id",
            key,
        )
        return [EventRow(r[0], r[1], r[2], r[3], json.loads(r[4]), r[5]) for r in rows]

    # --- work ---

    def claim(self, token: str) -> SeriesRow | None:
        """Take the oldest selected series; None when there is none."""
        with self._writing() as db:
            row = db.execute(
                _SERIES + "WHERE state = 'selected' ORDER BY state_at, id LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            found = _series_row(row)
            db.execute(
                "UPDATE series SET token = ?, token_at = ?, attempts = attempts + 1 WHERE id = ?",
                (token, self._now(), found.id),
            )
            self._advance(
                db,
                self._locked(db, found.key),
                SeriesEvent.CLAIMED,
                token,
                {"attempt": found.attempts + 1},
            )
            return self._locked(db, found.key)

    def heartbeat(self, key: SeriesKey, token: str) -> bool:
        """Say that the claim is alive; False when it is lost."""
        with self._writing() as db:
            cursor = db.execute(
                "UPDATE series SET token_at = ? WHERE study = ? AND series = ? AND token = ?",
                (self._now(), *key, token),
            )
            return cursor.rowcount == 1

    def claims(self) -> list[SeriesRow]:
        """Series somebody works on."""
        return self.series_in(SeriesState.PROCESSING)
