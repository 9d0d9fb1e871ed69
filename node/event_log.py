"""Writes events as lines: JSON in service, readable lines on a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TextIO

from node.events import Event

SAME_S: Final = 60.0
"""What comes again within this time is the same matter: it is logged when it begins, not while it lasts."""


Listener = Callable[[str, Mapping[str, Any]], None]
"""Takes the name and the fields of an event, in the thread that logs it."""


@dataclass(slots=True)
class Seldom:
    """Says of a fault or complaint whether it is a new one, or again after it had ceased."""

    monotonic: Callable[[], float] = time.monotonic
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, what: str) -> bool:
        """Whether to log it."""
        now = self.monotonic()
        new = now - self.last.get(what, -math.inf) > SAME_S
        self.last[what] = now
        return new


class EventLog:
    """Writes events as lines: JSON, or for people when the stream is a terminal."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        import structlog  # noqa: PLC0415 - a third of a short command's time; commands write no log

        out = stream or sys.stderr
        renderer: Any = (
            structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
        )
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(out),
            processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), renderer],
            node=name,
        )
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Let a listener hear every event from now on, also those of other processes."""
        self._listeners.append(listener)

    def event(self, event: Event) -> None:
        """Write one event."""
        self._write(type(event).__name__, asdict(event))

    def relay(self, content: Mapping[str, Any]) -> None:
        """Write an event of another process, as it was written there."""
        rest = {k: v for k, v in content.items() if k not in {"event", "timestamp"}}
        self._write(str(content["event"]), rest)

    def _write(self, name: str, fields: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            with suppress(Exception):  # who listens stops nothing
                listener(name, fields)
        # A terminal that was closed, a full disk: a line that cannot be written stops nothing.
        with suppress(OSError, ValueError):
            self._log.msg(name, **fields)
