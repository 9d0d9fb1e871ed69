"""How much one address may bring in a minute: a bucket that leaks, for associations and for bytes. No sockets here."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

KNOWN_ADDRESSES: Final = 1024
"""Addresses that are counted; whichever was quiet for longest is forgotten first."""
MINUTE_S: Final = 60.0
LONGEST_PAUSE_S: Final = 5.0
"""Longest wait before one answer to a sender that is ahead of its rate; peers wait 30 s and more for it."""
_MB: Final = 1_000_000


@dataclass(slots=True)
class Rate:
    """What each address brought, less what a minute lets pass. per_minute: 0 is no limit."""

    per_minute: float
    now: Callable[[], float] = time.monotonic
    _levels: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, address: str) -> bool:
        """Count one; False, and nothing counted, when the minute is full."""
        if not self.per_minute:
            return True
        with self._lock:
            level = self._level(address)
            if level + 1 > self.per_minute:
                return False
            self._set(address, level + 1)
            return True

    def excess_s(self, address: str, amount: float) -> float:
        """Count an amount that has come already; returns the seconds that the address is ahead of its rate."""
        if not self.per_minute:
            return 0.0
        with self._lock:
            level = self._level(address) + amount
            self._set(address, level)
            return max(0.0, level - self.per_minute) * MINUTE_S / self.per_minute

    def _level(self, address: str) -> float:
        level, at = self._levels.get(address, (0.0, 0.0))
        return max(0.0, level - (self.now() - at) * self.per_minute / MINUTE_S)

    def _set(self, address: str, level: float) -> None:
        self._levels[address] = level, self.now()
        self._levels.move_to_end(address)
        if len(self._levels) > KNOWN_ADDRESSES:
            self._levels.popitem(last=False)


@dataclass(slots=True)
class Rates:
    """What one address may bring in a minute; 0 is no limit."""

    associations: int
    mb: int
    _associations: Rate = field(init=False)
    _mb: Rate = field(init=False)

    def __post_init__(self) -> None:
        self._associations, self._mb = Rate(self.associations), Rate(self.mb)

    def refusal(self, address: str) -> str:
        """Count an association; returns "", or why it comes too soon."""
        if self._associations.take(address):
            return ""
        return f"more than {self.associations} associations in a minute, [receive] max_associations_per_minute"

    def pause_s(self, address: str, count: int) -> float:
        """Count bytes that came; returns the wait before their answer.

        A sender that is slowed down loses nothing; one that is refused leaves a gap that few senders fill.
        """
        return min(LONGEST_PAUSE_S, self._mb.excess_s(address, count / _MB))
