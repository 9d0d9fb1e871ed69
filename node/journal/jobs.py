"""The journal's retraining jobs and their history, and what the schedule did.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from node.errors import IllegalTransition, JobStateError, UnknownJob
from node.journal.database import Database, Transaction
from node.journal.job_rows import JobEventRow, JobPlan, JobRow
from node.journal.states import JOB_TRANSITIONS, JobEvent, JobState

_JOB: Final = "SELECT id, state, reason, asked_by, plan, outcome, pid, started, starts, created_at, state_at FROM job "
_EVENT: Final = "SELECT id, at, job_id, event, state, detail FROM job_event "


@dataclass(frozen=True, slots=True)
class JobTable:
    """All that is known of retraining."""

    database: Database

    def enqueue(self, plan: JobPlan, asked_by: str, *, alone: bool = False) -> JobRow:
        """Add a job at the end of the queue.

        alone: only while no other is queued or running. Raises `JobStateError` when one is.
        """
        with self.database.transaction() as tx:
            other = tx.execute(
                _JOB + "WHERE state IN ('queued', 'running') ORDER BY id LIMIT 1"
            ).fetchone()
            if alone and other is not None:
                raise JobStateError(
                    f"job {other['id']} is {other['state']}; only one retraining at a time"
                )
            now = tx.now()
            cursor = tx.execute(
                "INSERT INTO job (state, asked_by, plan, created_at, state_at) VALUES (?, ?, ?, ?, ?)",
                (JobState.QUEUED, asked_by, json.dumps(asdict(plan)), now, now),
            )
            job_id = int(cursor.lastrowid or 0)
            _add_event(tx, job_id, "enqueued", JobState.QUEUED, {"by": asked_by})
            return self.read(tx, job_id)

    def get(self, job_id: int) -> JobRow:
        """Return one job. Raises `UnknownJob`."""
        return _read(self.database.query(_JOB + "WHERE id = ?", (job_id,)), job_id)

    def in_states(self, *states: JobState) -> list[JobRow]:
        """Return the jobs in these states, or all without any, in the order in which they are due."""
        where = f"WHERE state IN ({', '.join('?' * len(states))}) " if states else ""
        rows = self.database.query(_JOB + where + "ORDER BY state_at, id", states)
        return [JobRow.from_row(r) for r in rows]

    def active(self) -> list[JobRow]:
        """Return the jobs that are queued or running."""
        return self.in_states(JobState.QUEUED, JobState.RUNNING)

    def events(self, job_id: int) -> list[JobEventRow]:
        """Return the history of a job, oldest first."""
        rows = self.database.query(_EVENT + "WHERE job_id = ? ORDER BY id", (job_id,))
        return [JobEventRow.from_row(r) for r in rows]

    def advance(
        self,
        job_id: int,
        event: JobEvent,
        *,
        detail: Mapping[str, object] | None = None,
        outcome: Mapping[str, object] | None = None,
    ) -> JobState:
        """Apply one event to a job; its `reason` is the detail's. outcome: replaces the job's, if given.

        Raises:
            UnknownJob: there is no such job.
            IllegalTransition: the table has no such pair.
        """
        with self.database.transaction() as tx:
            return self.apply(tx, job_id, event, dict(detail or {}), outcome)

    def start(self, job_id: int, pid: int, started: str, plan: JobPlan) -> JobState:
        """Record that a queued job runs, as which process and with which plan. Raises as `advance`."""
        with self.database.transaction() as tx:
            detail: dict[str, object] = {"pid": pid, "bundle": plan.bundle}
            state = self.apply(tx, job_id, JobEvent.STARTED, detail, None)
            tx.execute(
                "UPDATE job SET pid = ?, started = ?, plan = ?, starts = starts + 1 WHERE id = ?",
                (pid, started, json.dumps(asdict(plan)), job_id),
            )
            return state

    # --- the schedule ---

    def note_schedule(self, event: str, detail: Mapping[str, object]) -> None:
        """Record what the schedule did: `set`, `enqueued`, `overlap`, `nothing_new`, `missed`, `refused`."""
        with self.database.transaction() as tx:
            _add_event(tx, None, event, "schedule", detail)

    def schedule_events(self, newest: int = 20) -> list[JobEventRow]:
        """Return what the schedule did last, newest first."""
        rows = self.database.query(
            _EVENT + "WHERE state = 'schedule' ORDER BY id DESC LIMIT ?", (newest,)
        )
        return [JobEventRow.from_row(r) for r in rows]

    def newest_event(self) -> int:
        """Return the number of the newest event of a job or the schedule, 0 for none."""
        row = self.database.query("SELECT coalesce(max(id), 0) AS id FROM job_event").fetchone()
        return int(row["id"])

    # --- inside a transaction ---

    def read(self, tx: Transaction, job_id: int) -> JobRow:
        """Return one job as the transaction sees it. Raises `UnknownJob`."""
        return _read(tx.execute(_JOB + "WHERE id = ?", (job_id,)), job_id)

    def apply(
        self,
        tx: Transaction,
        job_id: int,
        event: JobEvent,
        detail: dict[str, object],
        outcome: Mapping[str, object] | None,
    ) -> JobState:
        """Apply one event; arguments and errors of `advance`."""
        row = self.read(tx, job_id)
        target = JOB_TRANSITIONS.get((row.state, event))
        if target is None:
            raise IllegalTransition(f"job {job_id}: {event} does not fit {row.state}")
        tx.execute(
            "UPDATE job SET state = ?, reason = ?, state_at = ?, outcome = coalesce(?, outcome) WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                tx.now(),
                None if outcome is None else json.dumps(outcome),
                job_id,
            ),
        )
        _add_event(tx, job_id, event, target, detail)
        return target


def _read(rows: sqlite3.Cursor, job_id: int) -> JobRow:
    row = rows.fetchone()
    if row is None:
        raise UnknownJob(f"no job {job_id}; `lumbar-node jobs list` shows what there is")
    return JobRow.from_row(row)


def _add_event(
    tx: Transaction, job_id: int | None, event: str, state: str, detail: Mapping[str, object]
) -> None:
    tx.execute(
        "INSERT INTO job_event (at, job_id, event, state, detail) VALUES (?, ?, ?, ?, ?)",
        (tx.now(), job_id, event, state, json.dumps(detail, default=str)),
    )
