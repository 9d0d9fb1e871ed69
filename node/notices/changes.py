"""Which conditions are new and which are over, so that each is reported once (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from node.notices.conditions import Condition
from node.notices.memory import Memory

NEW_AFTER_S: Final = 300.0
"""A condition that lasts less is not reported: a PACS that restarts, a worker that is replaced."""
OVER_AFTER_S: Final = 900.0
"""A condition that comes back within this time was never over."""


@dataclass(frozen=True, slots=True)
class Changes:
    """begun: conditions to report. ended: texts of those that are over."""

    begun: tuple[Condition, ...] = ()
    ended: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.begun or self.ended)


def find_changes(
    memory: Memory, conditions: Mapping[str, Condition], now: float
) -> tuple[Memory, Changes]:
    """Return what is to be reported, and the memory after it. now: seconds since 1970."""
    pending = {
        # A clock that was set back begins the wait again.
        key: min(memory.pending.get(key, now), now)
        for key in conditions
        if key not in memory.reported
    }
    absent = {
        key: min(memory.absent.get(key, now), now)
        for key in memory.reported
        if key not in conditions
    }
    begun = [key for key, since in pending.items() if now - since >= NEW_AFTER_S]
    ended = [key for key, since in absent.items() if now - since >= OVER_AFTER_S]
    reported = {k: t for k, t in memory.reported.items() if k not in ended}
    reported |= {key: conditions[key].what for key in begun}
    after = replace(
        memory,
        pending={k: at for k, at in pending.items() if k not in begun},
        absent={k: at for k, at in absent.items() if k not in ended},
        reported=reported,
    )
    texts = tuple(memory.reported[key] for key in ended)
    return after, Changes(tuple(conditions[key] for key in begun), texts)
