"""Work from the supervisor's side: worker processes that live, and claims that a living worker holds.

The worker is a process of its own, because a time limit, a memory limit and a fault in native code end
with its death only.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.backoff import wait_s
from node.clock import Ages, Clock
from node.config.work import WorkConfig
from node.event_log import EventLog
from node.events import Log, StepFailed, WorkerEnded
from node.faults import describe_error, error_trace
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.step import PutOff, each
from node.work.claims import release_claim, return_claim
from node.work.worker_process import WorkerProcess

SILENT_BEATS: Final = 15
"""Heartbeats that may fail to come before a worker is taken for dead; one that waits for a busy disk
or holds the interpreter in native code misses some."""

RESTART_FIRST_S: Final = 1.0
RESTART_LONGEST_S: Final = 60.0
"""Waits before a worker that ends at once is started again."""


@dataclass(slots=True)
class WorkStep:
    """Keeps the worker processes running and gives back the claims of dead ones."""

    processes: Sequence[WorkerProcess]
    config: WorkConfig
    journal: Journal
    clock: Clock
    log: Log
    _start_at: dict[str, float] = field(default_factory=dict)
    _ends: dict[str, int] = field(default_factory=dict)
    _ages: Ages = field(init=False)

    def __post_init__(self) -> None:
        self._ages = Ages(self.clock, from_start=False)

    @classmethod
    def of(
        cls,
        config_path: Path | None,
        config: WorkConfig,
        journal: Journal,
        clock: Clock,
        log: EventLog,
    ) -> WorkStep:
        """Describe the configured number of workers; nothing is started."""
        names = [f"w{n}" for n in range(1, config.processes + 1)]
        processes = [WorkerProcess(config_path, n, log) for n in names]
        return cls(processes, config, journal, clock, log.event)

    @property
    def ready(self) -> bool:
        """Whether every worker has its model loaded."""
        return all(p.ready for p in self.processes)

    def run_once(self) -> int:
        """Start what does not run, end what takes too long, give back lost claims. Returns how many."""
        rows = self.journal.series.claims()
        moved = each(rows, self._check, PutOff(self.journal, "work", self.clock, self.log))
        self._ages.keep({(part, r.id) for r in rows for part in ("claim", "beat")})
        each(self.processes, self._tend, self._cannot_start)
        return moved

    def stop(self, timeout_s: float) -> None:
        """Stop all, side by side: their series is finished or, after the time limit, given back."""
        threads = [threading.Thread(target=p.stop, args=(timeout_s,)) for p in self.processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for row in self.journal.series.claims():
            return_claim(self.journal, row, "the node was stopped")

    def _tend(self, process: WorkerProcess) -> bool:
        """Start a worker that does not run, when its time has come."""
        if process.running:
            if process.ready:
                self._ends.pop(process.name, None)
            return False
        now = self.clock.monotonic()
        if process.starts and process.name not in self._start_at:
            ends = self._ends[process.name] = self._ends.get(process.name, 0) + 1
            wait = wait_s(ends, RESTART_FIRST_S, RESTART_LONGEST_S)
            self._start_at[process.name] = now + wait
            if process.poll() != 0:
                self.log(WorkerEnded(process.name, process.poll() or 0, process.ending, ends, wait))
        if now >= self._start_at.get(process.name, now):
            self._start_at.pop(process.name, None)
            process.start()
            return True
        return False

    def _cannot_start(self, process: WorkerProcess, error: Exception) -> None:
        """Say that the machine has no room for a worker; it counts as an end, and waits as after one."""
        self.log(StepFailed(f"start {process.name}", describe_error(error), error_trace(error)))

    def _check(self, row: SeriesRow) -> bool:
        """Give one claim back when no living worker holds it."""
        maker = next((p for p in self.processes if p.made(row.token)), None)
        if maker is None or not maker.running:
            why = "the worker ended" if maker is None else maker.ending
            return release_claim(self.journal, row, self.config.max_attempts, why)
        why = self._overdue(row)
        if not why:
            return False
        maker.kill(why)
        return release_claim(self.journal, row, self.config.max_attempts, why)

    def _overdue(self, row: SeriesRow) -> str:
        """Why the worker of a claim is to be ended, "" when it is not."""
        worked_s = self._ages.of(("claim", row.id), row.token, row.state_at)
        beat_at = row.token_at or row.state_at
        silent_s = self._ages.of(("beat", row.id), beat_at, beat_at)
        if worked_s > self.config.time_limit_seconds:
            return f"more than {self.config.time_limit_seconds:g} s"
        if silent_s > SILENT_BEATS * self.config.heartbeat_seconds and self._journal_is_free(row):
            return f"no sign of life for {silent_s:.0f} s"
        return ""

    def _journal_is_free(self, row: SeriesRow) -> bool:
        """Whether a sign of life could have been written: not while another program holds the journal."""
        began = self.clock.monotonic()
        self.journal.series.heartbeat(row.key, "")  # writes nothing, and waits as the worker would
        if self.clock.monotonic() - began < self.config.heartbeat_seconds:
            return True
        self._ages.restart(("beat", row.id))
        return False
