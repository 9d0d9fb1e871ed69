"""The job runner: retrainings of the journal, one at a time, each as a child process of `lumbar-train`.

The child trains, compares and writes a folder; what it answers is recorded here. It never touches the
journal, and nothing here puts a model into service.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from node.clock import Ages, Clock
from node.errors import IllegalTransition, RunFileUnreadable
from node.events import JobEnded, JobStarted, Log
from node.journal.job_rows import JobPlan, JobRow
from node.journal.journal import Journal
from node.journal.states import JobEvent, JobState
from node.models import detached_process as child
from node.models.run_files import read_json, tail_lines
from node.store.layout import StateDirectory

TRAIN: Final = (sys.executable, "-m", "training")
COMPARISON: Final = "comparison.json"
CANDIDATE: Final = "candidate"
COMPARING_S: Final = 2 * 3600.0
"""Time for the comparison beyond the training's; a job that needs more is ended."""
TAIL_BYTES: Final = 20_000
VERDICTS: Final = {
    "proposed": JobEvent.COMPARISON_PASSED,
    "rejected": JobEvent.COMPARISON_FAILED,
}


@dataclass(frozen=True, slots=True)
class JobDirectory:
    """The files of a job: `log`, `lock`, and `out/` with run, candidate and comparison."""

    folder: Path

    @classmethod
    def of(cls, state: Path, job_id: int) -> JobDirectory:
        """Return the directory of a job below the state folder."""
        return cls(StateDirectory(state).job(job_id))

    @property
    def log(self) -> Path:
        """Output of the training, of all its starts."""
        return self.folder / "log"

    @property
    def lock(self) -> Path:
        """Held by the training while it lives."""
        return self.folder / "lock"

    @property
    def out(self) -> Path:
        """The training's own folder."""
        return self.folder / "out"

    @property
    def candidate(self) -> Path:
        """The bundle that is proposed."""
        return self.out / CANDIDATE

    def tail(self) -> list[str]:
        """Return the last lines of the log that are not empty; none without a log."""
        return tail_lines(self.log, TAIL_BYTES)


def build_arguments(command: Sequence[str], plan: JobPlan, directory: JobDirectory) -> list[str]:
    """Return the argument list of one start."""
    arguments = [*command, "retrain", "--cases", plan.data, "--held-out", plan.held_out]
    arguments += ["--out", str(directory.out), "--margin", repr(plan.margin)]
    arguments += ["--max-minutes", repr(plan.max_hours * 60)]
    for name in ("bundle", "recipe"):
        if getattr(plan, name):
            arguments += [f"--{name}", getattr(plan, name)]
    return arguments


def read_answer(directory: JobDirectory) -> dict[str, Any] | None:
    """Return what the comparison answered, without the single scores; None when there is none."""
    try:
        answer = read_json(directory.out / COMPARISON)
        if answer["verdict"] not in VERDICTS:
            return None
        sides = {
            side: {k: str(answer[side][k]) for k in ("name", "version", "digest")}
            for side in ("in_service", "candidate")
        }
    except (RunFileUnreadable, KeyError, TypeError):
        return None
    kept = {
        k: answer[k]
        for k in ("verdict", "reasons", "notes", "rule", "table", "measurements", "corrections")
        if k in answer
    }
    return {**kept, **sides}


def explain_failure(code: int | None, lines: Sequence[str]) -> str:
    """Return why a training ended without an answer. code: None when its end was not observed."""
    begin = "lumbar-train: "
    own_line = next((x.removeprefix(begin) for x in lines[::-1] if x.startswith(begin)), None)
    last = own_line or (lines[-1] if lines else "nothing in its log")
    if code is None:
        return f"terminated while the node was down; last log line: {last}"
    if code < 0:
        return f"killed by signal {-code}; last log line: {last}"
    return last if own_line or code == 3 else f"exit code {code}: {last}"


def cancel(journal: Journal, state: Path, job_id: int, by: str) -> JobState:
    """Cancel a queued or running job and end its processes. Raises `UnknownJob`, `IllegalTransition`."""
    row = journal.jobs.get(job_id)
    detail = {"by": by, "reason": f"by {by}"}
    state_after = journal.jobs.advance(job_id, JobEvent.CANCEL_REQUESTED, detail=detail)
    if row.state is JobState.RUNNING and row.pid is not None:
        child.end(row.pid, row.started, JobDirectory.of(state, job_id).lock)
    return state_after


@dataclass(slots=True)
class JobRunner:
    """Starts queued jobs, watches the running one, records its end.

    configured: the configured bundle, None for the shipped one. free: bytes free on the state's disk,
    which must stay above `least_free`, so that a training never stops the reception.
    """

    state: Path
    journal: Journal
    configured: Path | None
    free: Callable[[], int]
    least_free: int
    clock: Clock
    log: Log
    command: tuple[str, ...] = TRAIN
    _child: subprocess.Popen[bytes] | None = None
    _child_of: int = 0
    _ages: Ages = field(init=False)

    def __post_init__(self) -> None:
        self._ages = Ages(self.clock, from_start=False)

    def run_once(self) -> int:
        """Act once; returns how many jobs moved."""
        running = self.journal.jobs.in_states(JobState.RUNNING)
        if self._child is not None and self._child_of not in {row.id for row in running}:
            self._end_child()  # it was cancelled
            return 1
        if running:
            return self._look_after(running[0])
        queued = self.journal.jobs.in_states(JobState.QUEUED)
        return self._start(queued[0]) if queued else 0

    def stop(self) -> None:
        """End the training in order: its job is queued again and resumes from its checkpoint."""
        row = None if self._child is None else self.journal.jobs.get(self._child_of)
        if row is None or row.state is not JobState.RUNNING:
            self._end_child()
        elif not self._look_after(row):
            self._end_child()
            self._record(row.id, JobEvent.NODE_STOPPED, {"reason": "the node was stopped"})

    # --- start ---

    def _start(self, row: JobRow) -> int:
        directory = JobDirectory.of(self.state, row.id)
        if self.free() < self.least_free:
            return self._record(row.id, JobEvent.FAULT, {"reason": self._disk()})
        try:
            directory.folder.mkdir(parents=True, exist_ok=True)
            lock = child.take(directory.lock)
        except OSError as error:
            return self._record(row.id, JobEvent.FAULT, {"reason": _describe(error, directory)})
        if lock is None:
            return 0  # the training of an earlier life has not ended yet
        chosen = row.plan.bundle or str(
            self.journal.promotions.folder_in_service(self.configured) or ""
        )
        plan = replace(row.plan, bundle=chosen)
        try:
            self._child = child.start(
                build_arguments(self.command, plan, directory), directory.log, lock
            )
        except OSError as error:
            return self._record(row.id, JobEvent.FAULT, {"reason": _describe(error, directory)})
        finally:
            child.release(lock)
        self._child_of = row.id
        pid = self._child.pid
        try:
            self.journal.jobs.start(row.id, pid, child.identity(pid), plan)
        except IllegalTransition:  # cancelled in this very moment
            self._end_child()
            return 1
        self.log(JobStarted(row.id, row.starts + 1))
        return 1

    # --- watch ---

    def _look_after(self, row: JobRow) -> int:
        directory = JobDirectory.of(self.state, row.id)
        code: int | None = None
        if self._child is not None:
            code = child.poll_group(self._child)
            alive = code is None
        else:
            alive = directory.folder.is_dir() and child.held(directory.lock)
        why = self._limit(row) if alive else ""
        if alive and not why:
            return 0
        if why:
            self._kill(row, directory)
            moved = self._record(row.id, JobEvent.FAULT, {"reason": why})
        else:
            moved = self._conclude(row, directory, code)
        self._child = None
        return moved

    def _limit(self, row: JobRow) -> str:
        """Say why a job that runs must end; empty when it may go on."""
        if self.free() < self.least_free:
            return self._disk()
        limit_s = row.plan.max_hours * 3600 + COMPARING_S
        if self._ages.of(row.id, row.state_at, row.state_at) > limit_s:
            return f"more than {limit_s / 3600:g} hours"
        return ""

    def _disk(self) -> str:
        return f"disk: {self.free() // 1_000_000} MB free, [receive] disk_low_mb is {self.least_free // 1_000_000}"

    def _conclude(self, row: JobRow, directory: JobDirectory, code: int | None) -> int:
        answer = read_answer(directory)
        if answer is None or code not in {None, 0, 3}:
            reason = explain_failure(code, directory.tail())
            return self._record(row.id, JobEvent.FAULT, {"reason": reason, "exit_code": code})
        event = VERDICTS[answer["verdict"]]
        reason, *others = answer.get("reasons") or [""]
        detail = {
            "reason": f"{reason} (and {len(others)} more)" if others else reason,
            "exit_code": code,
        }
        return self._record(row.id, event, detail, answer)

    def _record(
        self,
        job_id: int,
        event: JobEvent,
        detail: dict[str, Any],
        outcome: dict[str, Any] | None = None,
    ) -> int:
        try:
            state = self.journal.jobs.advance(job_id, event, detail=detail, outcome=outcome)
        except IllegalTransition:  # cancelled meanwhile
            return 1
        self.log(JobEnded(job_id, state, str(detail.get("reason", ""))))
        return 1

    # --- end ---

    def _kill(self, row: JobRow, directory: JobDirectory) -> None:
        if self._child is not None:
            self._end_child()
        elif row.pid is not None:
            child.end(row.pid, row.started, directory.lock)

    def _end_child(self) -> None:
        """Kill our child's group. It has not been waited for, so the number is still its own."""
        if self._child is not None:
            if child.poll_group(self._child) is None:
                child.kill_group(self._child.pid)
            self._child.wait()
            self._child = None


def _describe(error: OSError, directory: JobDirectory) -> str:
    return f"{error.filename or directory.folder}: {error.strerror}"
