"""Refusals of the last moments, counted in memory: a flood of them is a few rows in a second, never a write for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from node.journal.journal import Journal
from node.journal.refusals import Kind, Refusal

MOST_PENDING: Final = 200
"""Peers with a row of their own between two writes; further ones share a row without a name."""
LONGEST_REASON: Final = 300
LONGEST_TITLE: Final = 16
WRITE_S: Final = 1.0


@dataclass(slots=True)
class Refusals:
    """What was refused since the last write; any thread counts."""

    wall: Callable[[], float] = time.time
    _pending: dict[tuple[str, str, Kind], Refusal] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, calling: str, address: str, kind: Kind, reason: str) -> None:
        """Count one."""
        now, calling = self.wall(), calling.strip()[:LONGEST_TITLE]
        with self._lock:
            key = (calling, address, kind)
            if key not in self._pending and len(self._pending) >= MOST_PENDING:
                key = ("", "", kind)
            known = self._pending.get(key)
            reason = reason[:LONGEST_REASON]
            self._pending[key] = (
                Refusal(*key, 1, now, now, reason)
                if known is None
                else replace(known, number=known.number + 1, last_at=now, reason=reason)
            )

    def take(self) -> list[Refusal]:
        """Return what was counted, and begin again."""
        with self._lock:
            found, self._pending = list(self._pending.values()), {}
            return found


@dataclass(slots=True)
class RefusalStep:
    """Writes refusals into the journal, at most once in a second."""

    journal: Journal
    refusals: Refusals
    now: Callable[[], float] = time.monotonic
    _next_at: float = 0.0

    def run_once(self) -> int:
        """Write what was counted; returns 1 where there was something."""
        if self.now() < self._next_at:
            return 0
        found = self.refusals.take()
        if not found:
            return 0
        self._next_at = self.now() + WRITE_S
        self.journal.refusals.add(found)
        return 1
