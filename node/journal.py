"""The journal: the only SQL. State and event are written in one transaction, or not at all.

SQLite in WAL mode with `synchronous=FULL`: what a method has returned from survives a power cut. One
connection per thread; several processes may use the file at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from node.errors import ClaimLost, IllegalTransition, StateRefused, UnknownUid
from node.records import (
    DeliveryRow,
    EventRow,
    InstanceFacts,
    InstanceRow,
    ResultRow,
    SeriesKey,
    SeriesRow,
)
from node.schema import migrate
from node.states import (
    DELIVERY_TRANSITIONS,
    SERIES_TRANSITIONS,
    DeliveryEvent,
    DeliveryState,
    InstanceState,
    SeriesEvent,
    SeriesState,
)

BUSY_TIMEOUT_S: Final = 30.0
SUPERSEDED: Final = "superseded"
"""Detail of a delivery whose result was replaced by a newer one; it is never tried again."""
_SERIES: Final = "id, study, series, state, reason, token, token_at, attempts, forced, instances, first_at, last_at, state_at"
_DELIVERY: Final = (
    "SELECT d.id, d.result_id, r.folder, d.destination, d.state, d.tries, d.next_try_at, d.detail, d.state_at, s.study, s.series"
    " FROM delivery d JOIN result r USING (result_id) JOIN series s ON s.id = r.series_id"
)
Added = Literal["stored", "same", "conflict"]


def _series_row(row: Sequence[Any]) -> SeriesRow:
    return SeriesRow(row[0], SeriesKey(row[1], row[2]), SeriesState(row[3]), *row[4:])


class Journal:
    """All that is known of every object, series, result and delivery.

    Paths below the journal's own folder are kept relative to it, so that the folder may be moved.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path, self._now, self._local = path, now, threading.local()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Journal:
        """Open or create; `now` gives seconds since 1970. Raises `JournalTooNew`, `StateRefused`."""
        journal = cls(path, now)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            migrate(journal._connection)
        except (OSError, sqlite3.Error) as error:
            raise StateRefused(
                f"{path}: the journal cannot be opened ({error}); check permissions and disk, or restore a backup"
            ) from error
        return journal

    def _kept(self, path: Path) -> str:
        root = self._path.parent
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _place(self, kept: str) -> Path:
        return self._path.parent / kept

    def _delivery_row(self, row: Sequence[Any]) -> DeliveryRow:
        return DeliveryRow(
            row[0], row[1], self._place(row[2]), row[3], DeliveryState(row[4]), row[5], row[6], row[7], row[8],
            SeriesKey(row[9], row[10]),
        )  # fmt: skip

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

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
        row = self._connection.execute(
            f"SELECT {_SERIES} FROM series WHERE study = ? AND series = ?", key
        ).fetchone()
        if row is None:
            raise UnknownUid(
                f"no series {key.series} in study {key.study}; `lumbar-node list` shows what there is"
            )
        return _series_row(row)

    def series_in(self, *states: SeriesState) -> list[SeriesRow]:
        """Series in these states, or all without any, oldest slice first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        rows = self._connection.execute(
            f"SELECT {_SERIES} FROM series {where} ORDER BY last_at, id", states
        )
        return [_series_row(r) for r in rows]

    def study_series(self, study: str) -> list[SeriesRow]:
        """All series of a study."""
        rows = self._connection.execute(
            f"SELECT {_SERIES} FROM series WHERE study = ? ORDER BY id", (study,)
        )
        return [_series_row(r) for r in rows]

    def find(self, uid: str) -> list[SeriesRow]:
        """Series by study, series, instance or result UID. Raises `UnknownUid`."""
        rows = self._connection.execute(
            f"SELECT {_SERIES} FROM series WHERE study = :u OR series = :u"
            " OR id IN (SELECT series_id FROM instance WHERE sop_instance = :u)"
            " OR id IN (SELECT series_id FROM result WHERE result_id = :u) ORDER BY id",
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
        row = db.execute(
            f"SELECT {_SERIES} FROM series WHERE study = ? AND series = ?", key
        ).fetchone()
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

    def _event(
        self,
        db: sqlite3.Connection,
        series_id: int | None,
        event: str,
        state: str,
        detail: Mapping[str, object],
        delivery_id: int | None = None,
    ) -> None:
        db.execute(
            "INSERT INTO event (at, series_id, delivery_id, event, state, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (self._now(), series_id, delivery_id, event, state, json.dumps(detail, default=str)),
        )

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
                f"SELECT {_SERIES} FROM series WHERE state = 'selected' ORDER BY state_at, id LIMIT 1"
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

    def publish(
        self, key: SeriesKey, token: str, result: ResultRow, destinations: Sequence[str]
    ) -> None:
        """Record a result and one delivery per destination; older pending ones are superseded.

        A result that is already recorded keeps its deliveries: the same input sent twice is one result.
        """
        with self._writing() as db:
            row = self._locked(db, key)
            self._advance(
                db, row, SeriesEvent.RESULTS_PUBLISHED, token, {"result": result.result_id}
            )
            now = self._now()
            db.execute(
                "INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?, ?, ?)",
                (
                    result.result_id,
                    row.id,
                    self._kept(result.folder),
                    result.model_digest,
                    result.attempt,
                    now,
                ),
            )
            older = db.execute(
                "SELECT d.id FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? AND r.result_id <> ? AND d.state IN ('pending', 'waiting')",
                (row.id, result.result_id),
            ).fetchall()
            for (delivery_id,) in older:
                detail: dict[str, object] = {"reason": SUPERSEDED, "by": result.result_id}
                self._move_delivery(db, delivery_id, DeliveryEvent.SUPERSEDED, detail, None)
            for name in destinations:
                cursor = db.execute(
                    "INSERT OR IGNORE INTO delivery (result_id, destination, state, state_at) VALUES (?, ?, ?, ?)",
                    (result.result_id, name, DeliveryState.PENDING, now),
                )
                if cursor.rowcount:
                    self._event(
                        db,
                        row.id,
                        "created",
                        DeliveryState.PENDING,
                        {"destination": name},
                        cursor.lastrowid,
                    )
            self._settle(db, row.id)

    def results_of(self, key: SeriesKey) -> list[ResultRow]:
        """Results of a series, oldest first."""
        rows = self._connection.execute(
            "SELECT r.result_id, r.folder, r.model_digest, r.attempt, r.created_at FROM result r JOIN series s ON s.id = r.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY r.created_at, r.attempt",
            key,
        )
        return [ResultRow(r[0], self._place(r[1]), r[2], r[3], r[4]) for r in rows]

    # --- deliveries ---

    def deliveries_in(self, *states: DeliveryState) -> list[DeliveryRow]:
        """Deliveries in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return [
            self._delivery_row(r)
            for r in self._connection.execute(
                f"{_DELIVERY} WHERE d.state IN ({marks}) ORDER BY d.id", states
            )
        ]

    def deliveries_of(self, key: SeriesKey) -> list[DeliveryRow]:
        """Deliveries of a series' results."""
        return [
            self._delivery_row(r)
            for r in self._connection.execute(
                f"{_DELIVERY} WHERE s.study = ? AND s.series = ? ORDER BY d.id", key
            )
        ]

    def deliveries_due(self, now: float) -> list[DeliveryRow]:
        """Pending and sent deliveries, and waiting ones whose time has come."""
        query = f"{_DELIVERY} WHERE d.state IN ('pending', 'sent') OR (d.state = 'waiting' AND d.next_try_at <= ?) ORDER BY d.id"
        return [self._delivery_row(r) for r in self._connection.execute(query, (now,))]

    def advance_delivery(
        self,
        delivery_id: int,
        event: DeliveryEvent,
        *,
        detail: Mapping[str, object] | None = None,
        next_try_at: float | None = None,
    ) -> DeliveryState:
        """Apply one event to a delivery; a series whose deliveries are all confirmed becomes delivered.

        Raises:
            IllegalTransition: the table has no such pair.
        """
        with self._writing() as db:
            state = self._move_delivery(db, delivery_id, event, dict(detail or {}), next_try_at)
            row = db.execute(
                "SELECT r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
                (delivery_id,),
            ).fetchone()
            self._settle(db, row[0])
            return state

    def _move_delivery(
        self,
        db: sqlite3.Connection,
        delivery_id: int,
        event: DeliveryEvent,
        detail: dict[str, object],
        next_try_at: float | None,
    ) -> DeliveryState:
        row = db.execute(
            "SELECT d.state, r.series_id FROM delivery d JOIN result r USING (result_id) WHERE d.id = ?",
            (delivery_id,),
        ).fetchone()
        if row is None:
            raise UnknownUid(f"no delivery {delivery_id}")
        target = DELIVERY_TRANSITIONS.get((DeliveryState(row[0]), event))
        if target is None:
            raise IllegalTransition(f"delivery {delivery_id}: {event} does not fit {row[0]}")
        tried = event in {
            DeliveryEvent.PEER_ACCEPTED,
            DeliveryEvent.TRANSIENT_FAILURE,
            DeliveryEvent.PERMANENT_FAILURE,
        }
        again = event is DeliveryEvent.RETRY_REQUESTED
        db.execute(
            "UPDATE delivery SET state = ?, detail = ?, state_at = ?, next_try_at = ?,"
            " tries = CASE WHEN ? THEN 0 ELSE tries + ? END WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                self._now(),
                next_try_at,
                again,
                int(tried),
                delivery_id,
            ),
        )
        self._event(db, row[1], event, target, detail, delivery_id)
        return target

    def _settle(self, db: sqlite3.Connection, series_id: int) -> None:
        """`encoded` becomes `delivered` when the newest result has only confirmed deliveries, and at least one."""
        states = db.execute(
            "SELECT d.state FROM delivery d WHERE d.result_id = (SELECT result_id FROM result WHERE series_id = ? ORDER BY created_at DESC, attempt DESC LIMIT 1)",
            (series_id,),
        ).fetchall()
        row = db.execute("SELECT state FROM series WHERE id = ?", (series_id,)).fetchone()
        if (
            states
            and row[0] == SeriesState.ENCODED
            and all(s == (DeliveryState.CONFIRMED,) for s in states)
        ):
            self._move(db, series_id, SeriesState.DELIVERED, SeriesEvent.ALL_CONFIRMED, {})

    # --- requests ---

    def request_retry(self, uid: str, *, force: bool = False) -> list[SeriesKey]:
        """Send series back to selection, and dead deliveries back to pending.

        force: the next result gets new UIDs. Raises `UnknownUid`, `IllegalTransition` when nothing can be retried.
        """
        rows = self.find(uid)
        moved: list[SeriesKey] = []
        with self._writing() as db:
            for row in rows:
                dead = db.execute(
                    "SELECT d.id FROM delivery d JOIN result r USING (result_id) WHERE r.series_id = ? AND d.state = 'dead' AND d.detail <> ?",
                    (row.id, SUPERSEDED),
                ).fetchall()
                for (delivery_id,) in dead:
                    self._move_delivery(db, delivery_id, DeliveryEvent.RETRY_REQUESTED, {}, None)
                if force:
                    db.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (row.id,))
                if (row.state, SeriesEvent.RETRY_REQUESTED) in SERIES_TRANSITIONS and (
                    force or not dead
                ):
                    self._move(
                        db,
                        row.id,
                        SeriesState.COMPLETE,
                        SeriesEvent.RETRY_REQUESTED,
                        {"force": force},
                    )
                    moved.append(row.key)
                elif dead:
                    moved.append(row.key)
        if not moved:
            raise IllegalTransition(
                f"{uid}: nothing to retry, the series is {', '.join(r.state for r in rows)}"
            )
        return moved

    def counts(self) -> dict[str, int]:
        """Number of series per state, deliveries per state (`delivery.…`) and objects per state (`instance.…`)."""
        out: dict[str, int] = {}
        for prefix, table in (("", "series"), ("delivery.", "delivery"), ("instance.", "instance")):
            for state, count in self._connection.execute(
                f"SELECT state, count(*) FROM {table} GROUP BY state"
            ):
                out[prefix + state] = count
        return out
