"""The planned retraining: when it is due, and whether one is enqueued. It never trains by itself.

APScheduler keeps time in memory only and its run does nothing but ask this module; what happened is in
the journal. A time that passed while the node was down is made up for once, at the next start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler

from node.config.cron import trigger_of
from node.config.schedule import ScheduleConfig
from node.errors import JobStateError
from node.events import Log, StepFailed
from node.faults import describe_error
from node.journal.journal import Journal
from node.journal.states import JobState
from node.models.plan import build_plan, new_cases, read_held_out

BY_SCHEDULE: Final = "schedule"
COMPARED: Final = (JobState.PROPOSED, JobState.REJECTED, JobState.PROMOTED)
"""States of jobs that ran to their comparison."""
DEFAULTS: Final = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
"""A run that is late is made, however late (the library's default drops it after one second)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a due time does. Times in seconds since 1970."""

    config: ScheduleConfig
    journal: Journal
    now: Callable[[], float]
    log: Log

    def run(self) -> None:
        """Enqueue a retraining, or record why not. For APScheduler: its thread has its own connection."""
        try:
            self.due({})
        finally:
            self.journal.close()

    def due(self, detail: Mapping[str, object]) -> str:
        """Enqueue a retraining unless one is open or too little is new; returns what was recorded."""
        event, decision = self._decide()
        self.journal.jobs.note_schedule(event, {"cron": self.config.cron, **detail, **decision})
        return event

    def _decide(self) -> tuple[str, dict[str, object]]:
        running = self.journal.jobs.active()
        if running:
            return "overlap", {
                "job": running[0].id,
                "reason": f"job {running[0].id} is not finished",
            }
        try:
            plan = build_plan(self.config)
            held = read_held_out(Path(self.config.held_out))
        except (JobStateError, OSError) as error:
            self.log(StepFailed("schedule", str(error)))
            return "refused", {"reason": str(error)}
        compared = self.journal.jobs.in_states(*COMPARED)
        before = compared[-1].plan.cases if compared else {}
        fresh = new_cases(plan.cases, before, held)
        wanted = self.config.minimum_new_cases
        if len(fresh) < wanted:
            reason = f"{len(fresh)} new cases, minimum is {wanted} (minimum_new_cases)"
            return "nothing_new", {"new": len(fresh), "reason": reason}
        try:
            job = self.journal.jobs.enqueue(plan, BY_SCHEDULE, alone=True)
        except JobStateError as error:  # another job was enqueued first
            return "overlap", {"reason": str(error)}
        return "enqueued", {"job": job.id, "new": len(fresh)}

    def catch_up(self) -> datetime | None:
        """Act once on times that passed while the node was down; returns the first, None if none did.

        What the journal holds of this schedule says until when it was looked after. A schedule that is
        new or was changed starts now.
        """
        noted = self.journal.jobs.schedule_events(1)
        if not noted or noted[0].detail.get("cron") != self.config.cron:
            self.journal.jobs.note_schedule("set", {"cron": self.config.cron})
            return None
        seen = datetime.fromtimestamp(math.floor(noted[0].at), UTC) + timedelta(seconds=1)
        missed: datetime | None = trigger_of(self.config.cron).get_next_fire_time(None, seen)
        if missed is None or missed.timestamp() > self.now():
            return None
        self.due({"missed": missed.isoformat()})
        return missed

    def start(self) -> Callable[[], None]:
        """Catch up, then keep time in a thread; returns a stop function."""
        self.catch_up()
        scheduler = BackgroundScheduler(timezone=UTC, job_defaults=DEFAULTS)
        scheduler.add_listener(
            self._fault, EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED
        )
        scheduler.add_job(
            self.run, trigger_of(self.config.cron), id="retrain", replace_existing=True
        )
        scheduler.start()

        def end() -> None:
            scheduler.shutdown()  # waits for a run, which only asks the journal

        return end

    def _fault(self, event: Any) -> None:
        error = getattr(event, "exception", None)
        reason = describe_error(error) if error else "a scheduled run was skipped"
        self.log(StepFailed("schedule", reason))
