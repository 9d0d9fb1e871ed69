"""How many objects of a series its sender holds: asked beside the tracker, which never waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from node.journal.rows import SeriesKey

ASK_EVERY_S: Final = 5.0
"""Shortest time between two questions about one series."""

QUESTIONS: Final = 4
"""Questions at one time: each may hang until its time-out, and the sender has other work."""

MOST_KEPT: Final = 1000
"""Answers that are kept; more series are not asked about at one time."""


class Counts(Protocol):
    """What of a destination is asked here."""

    def count(self, study: str, series: str) -> int | None:
        """Return the number of objects of a series; None when that cannot be known now."""
        ...


@dataclass(slots=True)
class _Asked:
    version: Hashable
    at: float
    pending: bool = True
    held: int | None = None


class Inquiry:
    """Remembers the sender's answers; `held` asks in a thread of its own and never waits."""

    def __init__(self, sender: Counts, monotonic: Callable[[], float]) -> None:
        self._sender, self._monotonic = sender, monotonic
        self._asked: dict[SeriesKey, _Asked] = {}
        self._lock = threading.Lock()
        self._free = threading.Semaphore(QUESTIONS)

    def held(self, key: SeriesKey, version: Hashable) -> int | None:
        """Return the objects that the sender holds, as answered since the series was in this version; None: not known."""
        with self._lock:
            last = self._asked.get(key)
            answer = last.held if last is not None and last.version == version else None
            due = last is None or (not last.pending and self._monotonic() - last.at >= ASK_EVERY_S)
            if due and self._free.acquire(blocking=False):
                self._ask(key, _Asked(version, self._monotonic(), held=answer))
            return answer

    def _ask(self, key: SeriesKey, asked: _Asked) -> None:
        while len(self._asked) >= MOST_KEPT:
            del self._asked[next(iter(self._asked))]
        self._asked.pop(key, None)
        self._asked[key] = asked
        threading.Thread(
            target=self._answer, args=(key, asked), name="inquiry", daemon=True
        ).start()

    def _answer(self, key: SeriesKey, asked: _Asked) -> None:
        held = None
        try:
            held = self._sender.count(*key)
        finally:
            with self._lock:
                asked.held, asked.pending = held, False
            self._free.release()
