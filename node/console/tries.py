"""Tries of passwords: after a few wrong ones each further one has to wait, longer every time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FREE: Final = 5
"""Wrong tries without a wait: a person who mistypes."""
LONGEST_S: Final = 300.0
FORGOTTEN_S: Final = 3600.0
"""Time after the last wrong try until it is forgotten."""
MOST: Final = 10_000
"""Names and addresses that are remembered; which was quiet longest makes room."""


@dataclass(slots=True)
class _Count:
    wrong: int = 0
    last: float = 0.0
    until: float = 0.0


@dataclass(slots=True)
class Tries:
    """Wrong tries by what they have in common: an address, or an address with a name."""

    now: Callable[[], float] = time.monotonic
    _counts: dict[str, _Count] = field(default_factory=dict)

    def wait_s(self, *keys: str) -> float:
        """Return the seconds until the next try may be made, 0 for now."""
        now = self.now()
        return max([0.0, *(c.until - now for k in keys if (c := self._counts.get(k)))])

    def wrong(self, *keys: str) -> None:
        """Count a wrong try."""
        now = self.now()
        for key in keys:
            count = self._counts.pop(key, None)
            if count is None or now - count.last > FORGOTTEN_S:
                count = _Count()
            count.wrong, count.last = count.wrong + 1, now
            if count.wrong >= FREE:
                count.until = now + min(LONGEST_S, 2.0 ** (count.wrong - FREE))
            self._counts[key] = count  # at the end: the first was quiet longest
        while len(self._counts) > MOST:
            del self._counts[next(iter(self._counts))]

    def right(self, *keys: str) -> None:
        """Forget what was wrong."""
        for key in keys:
            self._counts.pop(key, None)
