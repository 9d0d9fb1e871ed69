"""Work: one claimed series to its published result, and the child processes that do it.

The worker is a process of its own, because a time limit and a fault in native code end with its death
only. Supervisor and worker meet in the journal (claims with a token and a heartbeat) and in two pipes:
the worker ends when its standard input does, and says `ready` on its standard output.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from node.backoff import wait_s
from node.config import WorkConfig
from node.errors import ClaimLost, IllegalTransition
from node.journal import Journal
from node.records import SeriesKey, SeriesRow
from node.states import SeriesEvent

READY: Final = b"ready\n"
SILENT_BEATS: Final = 15
"""Heartbeats that may fail to come before a worker is taken for dead; one that waits for a busy disk
or holds the interpreter in native code misses some."""

PATIENT: Final = {"OMP_WAIT_POLICY": "passive"}
"""Threads of torch that wait sleep: spinning ones made the network twenty times slower beside any other
load, and it is no faster with them on an idle machine. Read when torch is loaded; what is set stays."""

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
                if not self._journal.heartbeat(self._key, self._token):
                    return
        finally:
            self._journal.close()


# ---- the supervisor's side -----------------------------------------------------------------------


@dataclass(slots=True)
class WorkerProcess:
    """One child process `python -m node.worker`; a stopped one can be started again.

    name: part of its claims' tokens; every start has another token.
    """

    config_path: Path
    name: str
    starts: int = 0
    token: str = ""
    _child: subprocess.Popen[bytes] | None = None
    _said: bytes = b""

    def start(self) -> None:
        """Start the process. Its standard error is ours."""
        self._close()  # the pipes of a process that ended by itself
        self.starts += 1
        # Process ids come again after a restart of the machine, and a claim must not pass for ours then.
        self.token = f"{self.name}.{os.getpid()}.{self.starts}.{secrets.token_hex(4)}"
        self._said = b""
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "node.worker",
                "--config",
                str(self.config_path),
                "--token",
                self.token,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**PATIENT, **os.environ},
            start_new_session=True,  # Ctrl+C is for the supervisor, which stops us in order
        )
        if self._child.stdout is not None:
            os.set_blocking(self._child.stdout.fileno(), False)

    @property
    def pid(self) -> int | None:
        """Process id, None before the first start."""
        return None if self._child is None else self._child.pid

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and series are taken."""
        if self._child is not None and self._child.stdout is not None and not self._said:
            self._said = self._child.stdout.read(len(READY)) or b""
        return self._said == READY and self.poll() is None

    def poll(self) -> int | None:
        """Exit code of a process that has ended (negative: the signal), None while it runs."""
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._child is not None and self._child.poll() is None

    def owns(self, claim: str | None) -> bool:
        """Whether a claim in the journal is one of this running process."""
        return self.running and claim is not None and claim.startswith(f"{self.token}/")

    def stop(self, timeout_s: float) -> bool:
        """Ask it to end after its series; kill it after the time limit. True when it ended itself."""
        if self._child is None:
            return True
        self._child.terminate()
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._close()
        return True

    def kill(self) -> None:
        """End it at once; its claim is given back by `Workers`."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._close()

    def _close(self) -> None:
        for pipe in () if self._child is None else (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(slots=True)
class Workers:
    """Keeps the worker processes running and gives back the claims of dead ones. Times in seconds."""

    processes: tuple[WorkerProcess, ...]
    config: WorkConfig
    journal: Journal
    now: Callable[[], float]
    _start_at: dict[str, float] = field(default_factory=dict)
    _early_ends: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config_path: Path, config: WorkConfig, journal: Journal, now: Callable[[], float]
    ) -> Workers:
        """Describe the configured number of workers; nothing is started."""
        names = [f"w{n}" for n in range(1, config.processes + 1)]
        return cls(tuple(WorkerProcess(config_path, n) for n in names), config, journal, now)

    @property
    def ready(self) -> bool:
        """Whether every worker has its model loaded."""
        return all(p.ready for p in self.processes)

    def run_once(self) -> int:
        """Start what does not run, end what takes too long, give back lost claims. Returns how many."""
        for process in self.processes:
            if not process.running:
                self._restart(process)
            elif process.ready:
                self._early_ends.pop(process.name, None)
        return sum(self._check(row) for row in self.journal.claims())

    def stop(self, timeout_s: float) -> None:
        """Stop all, side by side: their series is finished or, after the time limit, given back."""
        threads = [threading.Thread(target=p.stop, args=(timeout_s,)) for p in self.processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for row in self.journal.claims():
            self._check(row)

    def _restart(self, process: WorkerProcess) -> None:
        if process.starts and process.name not in self._start_at:
            ends = self._early_ends[process.name] = self._early_ends.get(process.name, 0) + 1
            wait = wait_s(ends, RESTART_FIRST_S, RESTART_LONGEST_S)
            self._start_at[process.name] = self.now() + wait
        if self.now() >= self._start_at.get(process.name, 0.0):
            self._start_at.pop(process.name, None)
            process.start()

    def _check(self, row: SeriesRow) -> bool:
        """Give one claim back when nobody alive holds it."""
        owner = next((p for p in self.processes if p.owns(row.token)), None)
        why = "the worker ended"
        if owner is not None:
            silent_s = self.now() - (row.token_at or row.state_at)
            if self.now() - row.state_at > self.config.time_limit_seconds:
                why = f"more than {self.config.time_limit_seconds:g} s"
            elif silent_s > SILENT_BEATS * self.config.heartbeat_seconds:
                why = f"no sign of life for {silent_s:.0f} s"
            else:
                return False
            owner.kill()
        return give_back(self.journal, row, self.config.max_attempts, why)


def give_back(journal: Journal, row: SeriesRow, max_attempts: int, why: str) -> bool:
    """Return a claimed series to *selected*, or to *failed* after the last attempt; False if it moved on."""
    crashed_out = row.attempts >= max_attempts
    event = SeriesEvent.CRASHED_OUT if crashed_out else SeriesEvent.CLAIM_LOST
    told = f"{why}, attempt {row.attempts} of {max_attempts}"
    try:
        journal.advance(row.key, event, expect=row.token, detail={"reason": told})
    except (ClaimLost, IllegalTransition):
        return False
    return True
