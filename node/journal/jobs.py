"""The journal's retraining jobs, what the schedule did, and the bundle in service."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from node.errors import IllegalTransition, JobRefused, PromotionRefused, UnknownJob
from node.journal.database import Database
from node.journal.rows import JobEventRow, JobPlan, JobRow, Promotion
from node.journal.states import JOB_TRANSITIONS, JobEvent, JobState

_JOB: Final = "SELECT id, state, reason, asked_by, plan, outcome, pid, started, starts, created_at, state_at FROM job "
_EVENT: Final = "SELECT id, at, job_id, event, state, detail FROM job_event "
_PROMOTION: Final = (
    "SELECT id, at, event, folder, name, version, digest, replaced, before_id, job_id, asked_by, reason"
    " FROM promotion "
)
_OPEN: Final = (JobState.QUEUED, JobState.RUNNING)
PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled_back"


def _job_row(r: Sequence[Any]) -> JobRow:
    plan = JobPlan(**json.loads(r[4]))
    return JobRow(r[0], JobState(r[1]), r[2], r[3], plan, json.loads(r[5]), *r[6:])


def _event_row(r: Sequence[Any]) -> JobEventRow:
    return JobEventRow(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]))


class JobTable(Database):
    """All that is known of retraining, and which bundle is in service."""

    # --- jobs ---

    def enqueue(self, plan: JobPlan, asked_by: str, *, alone: bool = False) -> JobRow:
        """Add a job at the end of the queue.

        alone: only while no other is queued or running. Raises `JobRefused` when one is.
        """
        with self._writing() as db:
            other = db.execute(
                _JOB + "WHERE state IN ('queued', 'running') ORDER BY id LIMIT 1"
            ).fetchone()
            if alone and other is not None:
                raise JobRefused(f"job {other[0]} is {other[1]}; only one retraining at a time")
            now = self._now()
            cursor = db.execute(
                "INSERT INTO job (state, asked_by, plan, created_at, state_at) VALUES (?, ?, ?, ?, ?)",
                (JobState.QUEUED, asked_by, json.dumps(asdict(plan)), now, now),
            )
            job_id = int(cursor.lastrowid or 0)
            self._job_event(db, job_id, "enqueued", JobState.QUEUED, {"by": asked_by})
            return self._job(db, job_id)

    def job(self, job_id: int) -> JobRow:
        """One job. Raises `UnknownJob`."""
        return self._job(self._connection, job_id)

    def jobs_in(self, *states: JobState) -> list[JobRow]:
        """Jobs in these states, or all without any, in the order in which they are due."""
        where = f"WHERE state IN ({', '.join('?' * len(states))}) " if states else ""
        rows = self._connection.execute(_JOB + where + "ORDER BY state_at, id", states)
        return [_job_row(r) for r in rows]

    def open_jobs(self) -> list[JobRow]:
        """Jobs that are queued or running."""
        return self.jobs_in(*_OPEN)

    def advance_job(
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
        with self._writing() as db:
            return self._move_job(db, job_id, event, dict(detail or {}), outcome)

    def start_job(self, job_id: int, pid: int, started: str, plan: JobPlan) -> JobState:
        """Record that a queued job runs, as which process and with which plan. Raises as `advance_job`."""
        with self._writing() as db:
            detail: dict[str, object] = {"pid": pid, "bundle": plan.bundle}
            state = self._move_job(db, job_id, JobEvent.STARTED, detail, None)
            db.execute(
                "UPDATE job SET pid = ?, started = ?, plan = ?, starts = starts + 1 WHERE id = ?",
                (pid, started, json.dumps(asdict(plan)), job_id),
            )
            return state

    def job_events(self, job_id: int) -> list[JobEventRow]:
        """History of a job, oldest first."""
        rows = self._connection.execute(_EVENT + "WHERE job_id = ? ORDER BY id", (job_id,))
        return [_event_row(r) for r in rows]

    def _job(self, db: sqlite3.Connection, job_id: int) -> JobRow:
        row = db.execute(_JOB + "WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise UnknownJob(f"no job {job_id}; `lumbar-node jobs list` shows what there is")
        return _job_row(row)

    def _move_job(
        self,
        db: sqlite3.Connection,
        job_id: int,
        event: JobEvent,
        detail: dict[str, object],
        outcome: Mapping[str, object] | None,
    ) -> JobState:
        row = self._job(db, job_id)
        target = JOB_TRANSITIONS.get((row.state, event))
        if target is None:
            raise IllegalTransition(f"job {job_id}: {event} does not fit {row.state}")
        db.execute(
            "UPDATE job SET state = ?, reason = ?, state_at = ?, outcome = coalesce(?, outcome) WHERE id = ?",
            (
                target,
                str(detail.get("reason", "")),
                self._now(),
                None if outcome is None else json.dumps(outcome),
                job_id,
            ),
        )
        self._job_event(db, job_id, event, target, detail)
        return target

    def _job_event(
        self,
        db: sqlite3.Connection,
        job_id: int | None,
        event: str,
        state: str,
        detail: Mapping[str, object],
    ) -> None:
        db.execute(
            "INSERT INTO job_event (at, job_id, event, state, detail) VALUES (?, ?, ?, ?, ?)",
            (self._now(), job_id, event, state, json.dumps(detail, default=str)),
        )

    # --- the schedule ---

    def note_schedule(self, event: str, detail: Mapping[str, object]) -> None:
        """Record what the schedule did: `set`, `enqueued`, `overlap`, `nothing_new`, `missed`, `refused`."""
        with self._writing() as db:
            self._job_event(db, None, event, "schedule", detail)

    def schedule_events(self, newest: int = 20) -> list[JobEventRow]:
        """What the schedule did last, newest first."""
        rows = self._connection.execute(
            _EVENT + "WHERE state = 'schedule' ORDER BY id DESC LIMIT ?", (newest,)
        )
        return [_event_row(r) for r in rows]

    # --- the bundle in service ---

    def promotion(self) -> Promotion | None:
        """The newest change of the bundle in service; None while it is the configured one."""
        row = self._connection.execute(_PROMOTION + "ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else self._promotion_row(row)

    def folder_in_service(self, configured: Path | None) -> Path | None:
        """Folder of the bundle in service: the promoted one, else the configured one; None is the shipped."""
        newest = self.promotion()
        return configured if newest is None or newest.folder is None else newest.folder

    def promotions(self) -> list[Promotion]:
        """Every change of the bundle in service, oldest first."""
        return [
            self._promotion_row(r) for r in self._connection.execute(_PROMOTION + "ORDER BY id")
        ]

    def promotion_before(self, row: Promotion) -> Promotion | None:
        """What a rollback of `row` returns to; None is the configured bundle."""
        found = self._connection.execute(
            _PROMOTION + "WHERE id = ?", (row.before_id or 0,)
        ).fetchone()
        return None if found is None else self._promotion_row(found)

    def record_promotion(self, new: Promotion, seen_id: int) -> Promotion:
        """Put a bundle into service in one transaction; a job that proposed it becomes promoted.

        new: its `id` and `at` are given here. seen_id: the newest row that the decision rests on, 0 none.

        Raises:
            PromotionRefused: another bundle was put into service meanwhile.
            IllegalTransition, UnknownJob: the job does not propose anything.
        """
        with self._writing() as db:
            newest = db.execute("SELECT coalesce(max(id), 0) FROM promotion").fetchone()[0]
            if newest != seen_id:
                raise PromotionRefused(
                    "another bundle was put into service meanwhile; look at `lumbar-node models list` and ask again"
                )
            if new.job_id is not None and new.event == PROMOTED:
                detail: dict[str, object] = {"by": new.asked_by, "reason": new.reason}
                self._move_job(db, new.job_id, JobEvent.PROMOTE_REQUESTED, detail, None)
            cursor = db.execute(
                "INSERT INTO promotion (at, event, folder, name, version, digest, replaced, before_id, job_id, asked_by, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._now(), new.event, "" if new.folder is None else self._kept(new.folder), new.name,
                    new.version, new.digest, new.replaced, new.before_id, new.job_id, new.asked_by, new.reason,
                ),
            )  # fmt: skip
            row = db.execute(_PROMOTION + "WHERE id = ?", (cursor.lastrowid,)).fetchone()
            return self._promotion_row(row)

    def _promotion_row(self, r: Sequence[Any]) -> Promotion:
        return Promotion(r[0], r[1], r[2], self._place(r[3]) if r[3] else None, *r[4:])
