"""The console's process from the service's side: a step that starts it, and starts it again when it has ended."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from node.backoff import wait_s
from node.clock import Clock
from node.config.web import WebConfig
from node.event_log import EventLog
from node.events import ConsoleEnded

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
"""Waits before a console that ends at once is started again."""
LIVED_S: Final = 300.0
"""Life after which an end is not one of a row."""
STOP_S: Final = 5.0
LONGEST_LINE: Final = 65_536
MODULE: Final = "node.console.process"


@dataclass(slots=True)
class ConsoleStep:
    """Keeps the console's process running. What is wrong with it is logged, and stops nothing else."""

    config: WebConfig
    config_path: Path | None
    clock: Clock
    log: EventLog
    _child: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _ends: int = 0
    _start_at: float = 0.0

    def __enter__(self) -> Self:
        """Start nothing yet: `run_once` does."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.stop()

    def run_once(self) -> int:
        """Start the process where a port is configured, none runs and it is time; returns 1 when one was started."""
        now = self.clock.monotonic()
        if self._child is not None:
            code = self._child.poll()
            if code is None:
                return 0
            self.stop()
            self._ends = 1 if now - self._started > LIVED_S else self._ends + 1
            pause_s = wait_s(self._ends, FIRST_S, LONGEST_S)
            self._start_at = now + pause_s
            self.log.event(ConsoleEnded(code, self._ends, round(pause_s, 1)))
        if not self.config.port or now < self._start_at:
            return 0
        self._started = now
        self._child = _start(self.config_path)
        threading.Thread(
            target=self._relay, args=(self._child.stderr,), name="console output", daemon=True
        ).start()
        return 1

    def stop(self) -> None:
        """End the process: it ends with its standard input, or is killed."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _relay(self, pipe: IO[bytes] | None) -> None:
        """Pass the process's events on; other lines are those of libraries, which may quote a request: none is kept."""
        if pipe is None:
            return
        with pipe:
            while line := pipe.readline(LONGEST_LINE):
                with suppress(ValueError):
                    content = json.loads(line)
                    if isinstance(content, dict) and "event" in content:
                        self.log.relay(content)


def _start(config_path: Path | None) -> subprocess.Popen[bytes]:
    file = ("--config", str(config_path)) if config_path else ()
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", MODULE, *file],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl+C is for the service, which stops it in order
    )  # fmt: skip
