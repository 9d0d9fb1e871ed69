"""The journal's series: in which state, claimed by whom, put off by which fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from node.errors import ClaimLost, IllegalTransition, UnknownUid
from node.journal.database import Database, decoded, state_of
from node.journal.rows import EventRow, SeriesKey, SeriesRow
from node.journal.states import SERIES_TRANSITIONS, SeriesEvent, SeriesState

_SERIES: Final = (
    "SELECT id, study, series, state, reason, token, token_at, attempts, forced, instances, first_at, last_at, state_at,"
    " fault, fault_step, fault_tries, try_at FROM series "
)
_NAMED: Final = (
    "WHERE study = :u OR series = :u"
    " OR id IN (SELECT series_id FROM instance WHERE sop_instance = :u)"
    " OR id IN (SELECT series_id FROM result WHERE result_id = :u) "
)
_DUE: Final = "(try_at <= :now OR fault_at > :now)"
"""Its time has come, or the clock was set back behind the fault: then the wait is not known to be right."""


def _series_row(row: sqlite3.Row) -> SeriesRow:
    key, state = SeriesKey(row["study"], row["series"]), state_of(SeriesState, row["state"])
    rest = {name: row[name] for name in row.keys() if name not in {"study", "series", "state"}}  # noqa: SIM118 - a Row iterates over its values
    return SeriesRow(key=key, state=state, **rest)


class SeriesTable(Database):
    """All that is known of every series."""

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

    def series_due(self, *states: SeriesState) -> list[SeriesRow]:
        """Series in these states that a step may act on now: those without a fault, and those to be tried again.

        As `series_in`, without the series that `defer` put off.
        """
        names = {f"s{n}": state for n, state in enumerate(states)}
        where = (
            f"WHERE state IN ({', '.join(f':{n}' for n in names)}) AND {_DUE} ORDER BY last_at, id"
        )
        rows = self._connection.execute(_SERIES + where, {**names, "now": self._now()})
        return [_series_row(r) for r in rows]

    def series_with_faults(self) -> list[SeriesRow]:
        """Series that `defer` put off, oldest fault first."""
        rows = self._connection.execute(_SERIES + "WHERE fault <> '' ORDER BY fault_at, id")
        return [_series_row(r) for r in rows]

    def defer(self, key: SeriesKey, step: str, reason: str, until: float) -> None:
        """Record that a step failed at a series for a reason that is not the series' state, and go on.

        Neither state nor claim changes; `series_due` and `claim` leave the series out until then, `list`,
        `why` and `status` show it. Gone with the next move of the series. step: name of the step. reason:
        one sentence without patient data. until: seconds since 1970, by the caller's back-off over
        `SeriesRow.fault_tries`, the number of faults in a row before this one. A series that is gone is
        not an error.
        """
        with self._writing() as db:
            row = db.execute(
                "UPDATE series SET fault = ?, fault_step = ?, fault_tries = fault_tries + 1, fault_at = ?, try_at = ?"
                " WHERE study = ? AND series = ? RETURNING id, state, fault_tries",
                (reason, step, self._now(), until, *key),
            ).fetchone()
            if row is not None and row["fault_tries"] == 1:
                detail = {"step": step, "reason": reason}
                self._event(db, row["id"], "deferred", row["state"], detail)

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
        fresh = target is SeriesState.RECEIVING or event is SeriesEvent.RETRY_REQUESTED
        db.execute(
            "UPDATE series SET state = ?, reason = ?, state_at = ?, token = CASE WHEN ? THEN token END,"
            " fault = '', fault_step = '', fault_tries = 0, fault_at = 0, try_at = 0,"
            " attempts = CASE WHEN ? THEN 0 ELSE attempts - ? END WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                self._now(),
                keep_token,
                fresh,
                int(event is SeriesEvent.CLAIM_RETURNED),
                series_id,
            ),
        )
        self._event(db, series_id, event, target, detail)

    def events_of(self, key: SeriesKey) -> list[EventRow]:
        """History of a series and its deliveries, oldest first."""
        rows = self._connection.execute(
            "SELECT e.id, e.at, e.event, e.state, e.detail, e.delivery_id FROM event e JOIN series s ON s.id = e.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY e.id",
            key,
        )
        return [
            EventRow(
                r["id"],
                r["at"],
                r["event"],
                r["state"],
                decoded(r["detail"], dict),
                r["delivery_id"],
            )
            for r in rows
        ]

    def _received(
        self,
        db: sqlite3.Connection,
        key: SeriesKey,
        event: SeriesEvent,
        detail: dict[str, object],
    ) -> int:
        """Count one more stored object; its series is receiving. Returns the series' id."""
        series_id = self._series_id(db, key)
        if series_id is None:
            series_id = self._open_series(db, key, SeriesState.RECEIVING, instances=1)
            self._event(db, series_id, event, SeriesState.RECEIVING, detail)
            return series_id
        now = self._now()
        state = db.execute(
            "UPDATE series SET instances = instances + 1, last_at = ? WHERE id = ? RETURNING state",
            (now, series_id),
        ).fetchone()["state"]
        if state != SeriesState.RECEIVING:
            target = SERIES_TRANSITIONS[state_of(SeriesState, state), event]
            self._move(db, series_id, target, event, {"late": True, **detail})
        elif event is not SeriesEvent.INSTANCE_STORED:
            self._event(db, series_id, event, SeriesState.RECEIVING, detail)
        return series_id

    def _lose(
        self,
        db: sqlite3.Connection,
        series_id: int,
        event: SeriesEvent,
        last: SeriesEvent,
        detail: dict[str, object],
    ) -> None:
        """Count one stored object less; `last` instead of `event` when none is left."""
        row = db.execute(
            "UPDATE series SET instances = instances - 1 WHERE id = ? RETURNING state, instances",
            (series_id,),
        ).fetchone()
        found = event if row["instances"] else last
        target = SERIES_TRANSITIONS[state_of(SeriesState, row["state"]), found]
        if found is SeriesEvent.INSTANCE_SUPERSEDED:  # the rest of the correction is on its way
            db.execute("UPDATE series SET last_at = ? WHERE id = ?", (self._now(), series_id))
        self._move(db, series_id, target, found, detail)

    def _series_id(self, db: sqlite3.Connection, key: SeriesKey) -> int | None:
        row = db.execute("SELECT id FROM series WHERE study = ? AND series = ?", key).fetchone()
        return None if row is None else int(row["id"])

    def _open_series(
        self, db: sqlite3.Connection, key: SeriesKey, state: SeriesState, *, instances: int
    ) -> int:
        now = self._now()
        cursor = db.execute(
            "INSERT INTO series (study, series, state, instances, first_at, last_at, state_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, state, instances, now, now, now),
        )
        return int(cursor.lastrowid or 0)

    # --- work ---

    def claim(self, token: str) -> SeriesRow | None:
        """Take the oldest selected series whose time has come; None when there is none."""
        with self._writing() as db:
            row = db.execute(
                _SERIES + f"WHERE state = 'selected' AND {_DUE} ORDER BY state_at, id LIMIT 1",
                {"now": self._now()},
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
