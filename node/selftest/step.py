"""The daily self-test of the running service: a child process that runs only while nothing else is to be done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock, local_time
from node.config.sections import Config
from node.events import Log, SelftestEnded, SelftestGaveWay
from node.journal.journal import Journal
from node.journal.states import SeriesState
from node.program import program_version
from node.store.selftest_history import SelftestRow, append_row, read_history

LOOK_S: Final = 2.0
AGAIN_S: Final = 300.0
"""Wait after a self-test that gave way to a series, or could not start."""
LONGEST_S: Final = 1800.0
_BUSY: Final = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.SELECTED, SeriesState.PROCESSING)  # fmt: skip
Start = Callable[[], "subprocess.Popen[bytes]"]


@dataclass(slots=True)
class SelftestStep:
    """Starts the self-test of the day once the node is idle, and ends it when a series comes.

    at: local time of day, "04:00". started_at: of the monotonic clock.
    """

    at: str
    state: Path
    journal: Journal
    clock: Clock
    log: Log
    start: Start
    _child: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _rows: int = 0
    _look_at: float = 0.0

    @classmethod
    def of(
        cls, config: Config, config_path: Path | None, journal: Journal, clock: Clock, log: Log
    ) -> SelftestStep | None:
        """Build it, None where no time is configured."""
        if not config.selftest.at:
            return None
        return cls(config.selftest.at, config.node.state, journal, clock, log, lambda: _start(config_path))  # fmt: skip

    def run_once(self) -> int:
        """Look, if it is time; returns 1 when a self-test began or ended."""
        now = self.clock.monotonic()
        if now < self._look_at:
            return 0
        self._look_at = now + LOOK_S
        if self._child is not None:
            return self._watch(self._child)
        if not self._is_due() or self._is_busy():
            return 0
        self._rows = len(read_history(self.state))
        self._started_at = now
        self._child = self.start()
        return 1

    def _is_due(self) -> bool:
        now = local_time(self.clock.wall())
        if f"{now:%H:%M}" < self.at:
            return False
        rows = read_history(self.state)
        return not any(local_time(r.at).date() == now.date() for r in rows[-3:])

    def _is_busy(self) -> bool:
        return bool(self.journal.series.in_states(*_BUSY))

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        if child.poll() is None:
            busy = self._is_busy()
            late = self.clock.monotonic() - self._started_at > LONGEST_S
            if not busy and not late:
                return 0
            child.kill()
            child.wait()
            self._forget()
            if busy:
                self._look_at = self.clock.monotonic() + AGAIN_S
                self.log(SelftestGaveWay(AGAIN_S))
            else:
                self._note(f"not ended within {LONGEST_S:.0f} s")
            return 1
        self._forget()
        rows = read_history(self.state)
        if len(rows) > self._rows:
            self._say(rows[-1])
        else:
            self._note(f"ended with exit code {child.returncode} and no result")
        return 1

    def _forget(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None

    def _note(self, reason: str) -> None:
        """Keep a self-test that brought no row of its own."""
        row = SelftestRow(self.clock.wall(), "failed", reason, "", "", "", program_version(), "")
        append_row(self.state, row)
        self._say(row)

    def _say(self, row: SelftestRow) -> None:
        drift = None if row.drift_mm is None else round(row.drift_mm, 3)
        self.log(SelftestEnded(row.outcome, row.reason, drift, row.cpu_s))


def _start(config_path: Path | None) -> subprocess.Popen[bytes]:
    """Start the command as a child that ends when its standard input does, that is with this process."""
    file = ("--config", str(config_path)) if config_path else ()
    return subprocess.Popen(
        [sys.executable, "-m", "node", "selftest", "--with-parent", *file],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
