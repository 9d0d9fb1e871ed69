"""Which studies a person opened lately, so that the audit trail says it once and not for every request of a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

AGAIN_S: Final = 3600.0
"""After this time, the same person and study are another opening."""
MOST: Final = 10_000
"""Openings that are remembered; of more the oldest are forgotten, and would count again."""


@dataclass(slots=True)
class Openings:
    """When a person opened a study. clock: seconds that only grow."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_new(self, person: str, study: str) -> bool:
        """Say whether this is an opening, and remember it; what belongs to one that is remembered is none."""
        now = self.clock()
        with self._lock:
            before = self._seen.get((person, study))
            if before is not None and now - before < AGAIN_S:
                return False
            self._seen.pop((person, study), None)
            self._seen[person, study] = now  # the newest is the last
            while len(self._seen) > MOST:
                del self._seen[next(iter(self._seen))]
            return True
