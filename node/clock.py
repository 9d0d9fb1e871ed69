"""Two clocks: the wall's for people and for the journal, the monotonic one for every wait.

A machine's wall clock is set back and forth (time servers, a flat battery, summer time set manually). No
wait here becomes longer or shorter by it, and no duration negative.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime


def at_text(at: float) -> str:
    """Return a moment, in seconds since 1970, as ISO 8601 in local time."""
    return local_time(at).isoformat(timespec="seconds")


def local_time(at: float) -> datetime:
    """Return a moment, in seconds since 1970, in the machine's time zone."""
    return datetime.fromtimestamp(at, UTC).astimezone()


@dataclass(frozen=True, slots=True)
class Clock:
    """wall: seconds since 1970, may jump. monotonic: seconds since some moment, never goes back."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

    def since(self, at: float) -> float:
        """Return the seconds since a moment of the wall clock, to be shown: never negative."""
        return max(0.0, self.wall() - at)


@dataclass(slots=True)
class _Seen:
    version: Hashable
    began: float
    looked: float


class Ages:
    """For how long things have been as they are, whatever the wall clock does.

    The journal's moments are of the wall clock. One of them is taken for what it says only as far as
    the monotonic clock allows: a change that was not there at the last look is younger than that.
    from_start: what exists at the start is as old as the start; else it is as old as the journal says.
    """

    def __init__(self, clock: Clock, *, from_start: bool) -> None:
        self._clock = clock
        self._seen: dict[Hashable, _Seen] = {}
        self._round = clock.monotonic() if from_start else -math.inf

    def of(self, key: Hashable, version: Hashable, at: float) -> float:
        """Return the seconds for which `key` has been `version`, which it became at the wall's `at`."""
        now = self._clock.monotonic()
        seen = self._seen.get(key)
        if seen is None or seen.version != version:
            last_look = self._round if seen is None else seen.looked
            began = now - min(self._clock.since(at), now - last_look)
            seen = self._seen[key] = _Seen(version, began, now)
        seen.looked = now
        return now - seen.began

    def restart(self, key: Hashable) -> None:
        """Count from now on, whatever its version."""
        seen = self._seen.get(key)
        if seen is not None:
            seen.began = self._clock.monotonic()

    def keep(self, keys: Collection[Hashable]) -> None:
        """End a round: forget every other key."""
        self._round = self._clock.monotonic()
        for key in self._seen.keys() - set(keys):
            del self._seen[key]
