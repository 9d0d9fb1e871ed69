"""A thread that runs steps until it is asked to stop: what one step raises waits, and the others run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from node.backoff import wait_s
from node.event_log import Seldom
from node.events import Log, StepFailed
from node.faults import describe_error, error_trace
from node.journal.file import JournalError, is_damage
from node.journal.journal import Journal
from node.step import Step

TICK_S: Final = 0.1
"""How soon a step sees what the one before it did."""

LONGEST_WAIT_S: Final = 5.0
"""Longest wait of a step that fails: what is in its way (a busy database, a full disk) may end any time."""


@dataclass(slots=True)
class _Guarded:
    """One step with its faults: how many in a row, and which were logged."""

    step: Step
    faults: int = 0
    due: float = 0.0
    is_new: Seldom = field(default_factory=Seldom)

    def run(self, name: str, log: Log) -> int:
        """Run the step unless it waits; returns how many things moved."""
        now = time.monotonic()
        if now < self.due:
            return 0
        try:
            moved = self.step.run_once()
        except Exception as error:
            if is_damage(error):
                raise  # no step can be right on a broken journal
            self._failed(error, name, log)
            return 0
        self.faults = 0
        return moved

    def _failed(self, error: Exception, name: str, log: Log) -> None:
        self.faults += 1
        self.due = time.monotonic() + wait_s(self.faults, TICK_S, LONGEST_WAIT_S)
        reason = describe_error(error)
        if self.is_new(reason):
            log(StepFailed(name, reason, error_trace(error)))


@dataclass(slots=True)
class Loop:
    """Runs steps in a thread of its own until `stopping` is set.

    damage: the error of SQLite at a journal whose file is broken; then `stopping` is set here.
    round_at: when the last step began, of the monotonic clock.
    """

    name: str
    steps: tuple[Step, ...]
    stopping: threading.Event
    log: Log
    journal: Journal
    damage: JournalError | None = None
    round_at: float = field(default_factory=time.monotonic)
    _guarded: tuple[_Guarded, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._guarded = tuple(_Guarded(step) for step in self.steps)

    def start(self) -> threading.Thread:
        """Start the thread."""
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                moved = sum(self._run_step(step) for step in self._guarded)
                self.stopping.wait(0 if moved else TICK_S)
        except JournalError as error:
            self.damage = error
            self.stopping.set()
        finally:
            self.journal.close()

    def _run_step(self, step: _Guarded) -> int:
        self.round_at = time.monotonic()
        return step.run(self.name, self.log)
