"""Work from the supervisor's side: worker processes that live, and claims that somebody alive holds.

The worker is a process of its own, because a time limit, a memory limit and a fault in native code end
with its death only.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from node.backoff import wait_s
from node.clock import Ages, Clock
from node.config.sections import WorkConfig
from node.errors import ClaimLost, IllegalTransition
from node.event_log import EventLog
from node.events import Log, StepFailed, WorkerEnded
from node.faults import describe_error, error_trace
from node.journal.file import JournalBusy
from node.journal.journal import Journal
from node.journal.rows import SeriesKey, SeriesRow
from node.journal.states import SeriesEvent
from node.step import PutOff, each
from node.work.worker_process import WorkerProcess

SILENT_BEATS: Final = 15
"""Heartbeats that may fail to come before a worker is taken for dead; one that waits for a busy disk
or holds the interpreter in native code misses some."""

RESTART_FIRST_S: Final = 1.0
RESTART_LONGEST_S: Final = 60.0
"""Waits before a worker that ends at once is started again."""


class Heartbeat:
    """Says in the journal, from a thread, that a claim is alive, until the block is left."""

    def __init__(self, journal: Journal, key: SeriesKey, token: str, every_s: float) -> None:
        self._journal, self._key, self._token, self._every_s = journal, key, token, every_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._left.wait(self._every_s):
                if not self._alive():
                    return
        finally:
            self._journal.close()

    def _alive(self) -> bool:
        try:
            return self._journal.series.heartbeat(self._key, self._token)
        except JournalBusy:
            return True  # somebody holds the journal; the next beat may come through


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
        self._ages = Ages(self.clock, anew=False)

    @classmethod
    def of(
        cls, config_path: Path, config: WorkConfig, journal: Journal, clock: Clock, log: EventLog
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
        """Give one claim back when nobody alive holds it."""
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


@dataclass(frozen=True, slots=True)
class MemoryGuard:
    """Ends a worker that takes more memory than it may; a step of its own, so that nothing delays it."""

    processes: Sequence[WorkerProcess]
    limit_mb: int

    def run_once(self) -> int:
        """Look at every worker; returns how many were ended."""
        ended = 0
        for process in self.processes:
            if process.resident_mb() > self.limit_mb:
                process.kill(f"more than {self.limit_mb} MB of memory")
                ended += 1
        return ended


def release_claim(journal: Journal, row: SeriesRow, max_attempts: int, why: str) -> bool:
    """Return a claimed series to *selected*, or to *failed* after the last attempt; False if it moved on."""
    crashed_out = row.attempts >= max_attempts
    event = SeriesEvent.CRASHED_OUT if crashed_out else SeriesEvent.CLAIM_LOST
    return _released(journal, row, event, f"{why}, attempt {row.attempts} of {max_attempts}")


def return_claim(journal: Journal, row: SeriesRow, why: str) -> bool:
    """Return a claimed series to *selected* as if it had not been begun; False if it moved on."""
    return _released(journal, row, SeriesEvent.CLAIM_RETURNED, why)


def _released(journal: Journal, row: SeriesRow, event: SeriesEvent, why: str) -> bool:
    try:
        journal.series.advance(row.key, event, expect=row.token, detail={"reason": why})
    except (ClaimLost, IllegalTransition):
        return False
    return True
