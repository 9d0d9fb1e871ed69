"""The journal's series: in which state, claimed by which worker, put off by which fault.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.errors import ClaimLost, IllegalTransition, UnknownUid
from node.journal.columns import read_state
from node.journal.database import Database, Transaction
from node.journal.rows import EventRow, SeriesKey, SeriesRow
from node.journal.states import SERIES_TRANSITIONS, SeriesEvent, SeriesState

SERIES_COLUMNS: Final = (
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


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """All that is known of every series."""

    database: Database

    def get(self, key: SeriesKey) -> SeriesRow:
        """Return one series. Raises `UnknownUid`."""
        row = self.database.query(SERIES_COLUMNS + "WHERE study = ? AND series = ?", key).fetchone()
        if row is None:
            raise UnknownUid(
                f"no series {key.series} in study {key.study}; `lumbar-node list` shows what there is"
            )
        return SeriesRow.from_row(row)

    def in_states(self, *states: SeriesState) -> list[SeriesRow]:
        """Return the series in these states, or all without any, oldest slice first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))}) " if states else ""
        rows = self.database.query(SERIES_COLUMNS + where + "ORDER BY last_at, id", states)
        return [SeriesRow.from_row(r) for r in rows]

    def due(self, *states: SeriesState) -> list[SeriesRow]:
        """Return the series in these states that a step may act on now: without a fault, or due for a retry.

        As `in_states`, without the series that `defer` put off.
        """
        names = {f"s{n}": state for n, state in enumerate(states)}
        where = (
            f"WHERE state IN ({', '.join(f':{n}' for n in names)}) AND {_DUE} ORDER BY last_at, id"
        )
        rows = self.database.query(SERIES_COLUMNS + where, {**names, "now": self.database.now()})
        return [SeriesRow.from_row(r) for r in rows]

    def with_faults(self) -> list[SeriesRow]:
        """Return the series that `defer` put off, oldest fault first."""
        rows = self.database.query(SERIES_COLUMNS + "WHERE fault <> '' ORDER BY fault_at, id")
        return [SeriesRow.from_row(r) for r in rows]

    def of_study(self, study: str) -> list[SeriesRow]:
        """Return all series of a study."""
        rows = self.database.query(SERIES_COLUMNS + "WHERE study = ? ORDER BY id", (study,))
        return [SeriesRow.from_row(r) for r in rows]

    def find(self, uid: str) -> list[SeriesRow]:
        """Return series by study, series, instance or result UID. Raises `UnknownUid`."""
        rows = self.database.query(SERIES_COLUMNS + _NAMED + "ORDER BY id", {"u": uid}).fetchall()
        if not rows:
            raise UnknownUid(f"{uid} is not in the journal; `lumbar-node list` shows what there is")
        return [SeriesRow.from_row(r) for r in rows]

    def events(self, key: SeriesKey) -> list[EventRow]:
        """Return the history of a series and its deliveries, oldest first."""
        rows = self.database.query(
            "SELECT e.id, e.at, e.event, e.state, e.detail, e.delivery_id"
            " FROM event e JOIN series s ON s.id = e.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY e.id",
            key,
        )
        return [EventRow.from_row(r) for r in rows]

    def claims(self) -> list[SeriesRow]:
        """Return the series that are being processed."""
        return self.in_states(SeriesState.PROCESSING)

    # --- moves ---

    def advance(
        self,
        key: SeriesKey,
        event: SeriesEvent,
        *,
        expect: str | None = None,
        detail: Mapping[str, object] | None = None,
        seen: int | None = None,
    ) -> SeriesState:
        """Apply one event, if the state table has it, the claim is `expect` and there are `seen` slices.

        Raises:
            IllegalTransition: no such pair, or another number of instances than was seen.
            ClaimLost: another claim, or none.
        """
        with self.database.transaction() as tx:
            return self.apply(tx, self.read(tx, key), event, expect, dict(detail or {}), seen)

    def defer(self, key: SeriesKey, step: str, reason: str, until: float) -> None:
        """Record that a step failed at a series for a reason that is not the series' state.

        Neither state nor claim changes; `due` and `claim` leave the series out until then, `list`, `why`
        and `status` show it. Gone with the next move of the series. step: name of the step. reason: one
        sentence without patient data. until: seconds since 1970, by the caller's back-off over
        `SeriesRow.fault_tries`, the number of faults in a row before this one. A series that is gone is
        not an error.
        """
        with self.database.transaction() as tx:
            row = tx.execute(
                "UPDATE series SET fault = ?, fault_step = ?, fault_tries = fault_tries + 1, fault_at = ?, try_at = ?"
                " WHERE study = ? AND series = ? RETURNING id, state, fault_tries",
                (reason, step, tx.now(), until, *key),
            ).fetchone()
            if row is not None and row["fault_tries"] == 1:
                tx.event(row["id"], "deferred", row["state"], {"step": step, "reason": reason})

    def claim(self, token: str) -> SeriesRow | None:
        """Take the oldest selected series whose time has come; None when there is none."""
        with self.database.transaction() as tx:
            row = tx.execute(
                SERIES_COLUMNS
                + f"WHERE state = 'selected' AND {_DUE} ORDER BY state_at, id LIMIT 1",
                {"now": tx.now()},
            ).fetchone()
            if row is None:
                return None
            oldest = SeriesRow.from_row(row)
            tx.execute(
                "UPDATE series SET token = ?, token_at = ?, attempts = attempts + 1 WHERE id = ?",
                (token, tx.now(), oldest.id),
            )
            detail: dict[str, object] = {"attempt": oldest.attempts + 1}
            self.apply(tx, self.read(tx, oldest.key), SeriesEvent.CLAIMED, token, detail)
            return self.read(tx, oldest.key)

    def heartbeat(self, key: SeriesKey, token: str) -> bool:
        """Record that the claim is alive; False when it is lost."""
        with self.database.transaction() as tx:
            cursor = tx.execute(
                "UPDATE series SET token_at = ? WHERE study = ? AND series = ? AND token = ?",
                (tx.now(), *key, token),
            )
            return cursor.rowcount == 1

    # --- inside a transaction ---

    def read(self, tx: Transaction, key: SeriesKey) -> SeriesRow:
        """Return one series as the transaction sees it. Raises `UnknownUid`."""
        row = tx.execute(SERIES_COLUMNS + "WHERE study = ? AND series = ?", key).fetchone()
        if row is None:
            raise UnknownUid(f"no series {key.series} in study {key.study}")
        return SeriesRow.from_row(row)

    def apply(
        self,
        tx: Transaction,
        row: SeriesRow,
        event: SeriesEvent,
        expect: str | None,
        detail: dict[str, object],
        seen: int | None = None,
    ) -> SeriesState:
        """Apply one event to a row that was read in this transaction; arguments and errors of `advance`."""
        if expect is not None and row.token != expect:
            raise ClaimLost(f"series {row.key.series}: the claim is gone, {event} is dropped")
        target = SERIES_TRANSITIONS.get((row.state, event))
        if target is None or (seen is not None and seen != row.instances):
            raise IllegalTransition(
                f"series {row.key.series}: {event} does not fit {row.state} with {row.instances} instances"
            )
        self.move(tx, row.id, target, event, detail)
        return target

    def move(
        self,
        tx: Transaction,
        series_id: int,
        target: SeriesState,
        event: SeriesEvent,
        detail: dict[str, object],
    ) -> None:
        """Write a state that the table allows, with its event; ends claim and fault."""
        keep_token = target is SeriesState.PROCESSING
        fresh = target is SeriesState.RECEIVING or event is SeriesEvent.RETRY_REQUESTED
        tx.execute(
            "UPDATE series SET state = ?, reason = ?, state_at = ?, token = CASE WHEN ? THEN token END,"
            " fault = '', fault_step = '', fault_tries = 0, fault_at = 0, try_at = 0,"
            " attempts = CASE WHEN ? THEN 0 ELSE attempts - ? END WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                tx.now(),
                keep_token,
                fresh,
                int(event is SeriesEvent.CLAIM_RETURNED),
                series_id,
            ),
        )
        tx.event(series_id, event, target, detail)

    def count_stored(
        self, tx: Transaction, key: SeriesKey, event: SeriesEvent, detail: dict[str, object]
    ) -> int:
        """Count another stored object; its series is receiving. Returns the series' id."""
        counted = tx.execute(
            "UPDATE series SET instances = instances + 1, last_at = ? WHERE study = ? AND series = ?"
            " RETURNING id, state",
            (tx.now(), *key),
        ).fetchone()
        if counted is None:
            series_id = self.insert(tx, key, SeriesState.RECEIVING, instances=1)
            tx.event(series_id, event, SeriesState.RECEIVING, detail)
            return series_id
        series_id, state = int(counted["id"]), counted["state"]
        if state == SeriesState.PURGED:
            # A result that was taken back must not come again under its UIDs.
            tx.execute(
                "UPDATE series SET forced = forced + 1 WHERE id = ? AND EXISTS"
                " (SELECT 1 FROM result r WHERE r.series_id = series.id AND r.inputs = '[]' AND r.superseded_because <> '')",
                (series_id,),
            )
        if state != SeriesState.RECEIVING:
            target = SERIES_TRANSITIONS[read_state(SeriesState, state), event]
            self.move(tx, series_id, target, event, {"late": True, **detail})
        elif event is not SeriesEvent.INSTANCE_STORED:
            tx.event(series_id, event, SeriesState.RECEIVING, detail)
        return series_id

    def count_lost(
        self,
        tx: Transaction,
        series_id: int,
        event: SeriesEvent,
        last: SeriesEvent,
        detail: dict[str, object],
    ) -> None:
        """Count one stored object less; `last` instead of `event` when none is left."""
        row = tx.execute(
            "UPDATE series SET instances = instances - 1 WHERE id = ? RETURNING state, instances",
            (series_id,),
        ).fetchone()
        event = event if row["instances"] else last
        target = SERIES_TRANSITIONS[read_state(SeriesState, row["state"]), event]
        if event is SeriesEvent.INSTANCE_SUPERSEDED:  # the rest of the correction is on its way
            tx.execute("UPDATE series SET last_at = ? WHERE id = ?", (tx.now(), series_id))
        self.move(tx, series_id, target, event, detail)

    def count_missing(self, tx: Transaction, series_id: int, detail: dict[str, object]) -> None:
        """Count one stored object less; the series stays in its state."""
        row = tx.execute(
            "UPDATE series SET instances = instances - 1 WHERE id = ? RETURNING state", (series_id,)
        ).fetchone()
        tx.event(series_id, SeriesEvent.INSTANCE_SET_ASIDE, row["state"], detail)

    def find_id(self, tx: Transaction, key: SeriesKey) -> int | None:
        """Return the id of a series, None where there is no row of it."""
        row = tx.execute("SELECT id FROM series WHERE study = ? AND series = ?", key).fetchone()
        return None if row is None else int(row["id"])

    def insert(self, tx: Transaction, key: SeriesKey, state: SeriesState, *, instances: int) -> int:
        """Add a series that begins in this state; returns its id."""
        now = tx.now()
        cursor = tx.execute(
            "INSERT INTO series (study, series, state, instances, first_at, last_at, state_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, state, instances, now, now, now),
        )
        return int(cursor.lastrowid or 0)
