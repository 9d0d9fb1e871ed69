"""Track: when is a series complete? By geometry and count, not by a timer alone.

*Complete* is a regular grid with the count its headers announce, or, where they announce none, a
regular grid and `settle_s` without a new slice. Quiet and not regular is *incomplete*, with the gap
named; unless no rule could accept the series whatever comes, then selection may skip it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from dicomseg import headers
from dicomseg.errors import InputRefused
from dicomseg.headers import Instance
from dicomseg.series import Gaps, Grid, assemble, expected_count
from node.config import TrackConfig
from node.errors import IllegalTransition
from node.events import EventLog, SeriesTracked
from node.journal import Journal
from node.records import InstanceRow, SeriesRow
from node.rules import Rule, could_accept
from node.states import SeriesEvent, SeriesState

REMEMBERED: Final = 8192
"""Headers that are kept in memory, a few kilobytes each."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a receiving series: an event with its reason, or None to wait."""

    event: SeriesEvent | None
    reason: str = ""


def decide(
    instances: Sequence[Instance],
    quiet_s: float,
    config: TrackConfig,
    rules: Sequence[Rule],
    problems: Sequence[str] = (),
) -> Decision:
    """Decide for one series whose last slice came `quiet_s` ago (pure).

    problems: objects of the series whose header could not be read.
    """
    count = expected_count(instances) if instances and config.expected_count == "header" else None
    if (
        count is not None
        and len(instances) < count
        and instances[0].frames == 1
        and quiet_s < config.quiet_seconds
    ):
        return Decision(None)
    settled = quiet_s >= config.settle_seconds
    if count is None and not settled:
        return Decision(None)
    grid: Grid | Gaps = (
        assemble(instances)
        if instances
        else Gaps("no-instances", "no object of the series can be read")
    )
    if isinstance(grid, Grid) and not problems:
        if count is None or grid.shape[0] == count:
            return Decision(SeriesEvent.GEOMETRY_COMPLETE)
        if count < grid.shape[0] and settled:
            return Decision(
                SeriesEvent.GEOMETRY_COMPLETE,
                f"{grid.shape[0]} slices, the headers announce {count}",
            )
    if (
        settled
        and instances
        and not any(could_accept(i, rules) for i in (instances[0], instances[-1]))
    ):
        return Decision(SeriesEvent.SETTLED_INELIGIBLE)
    if quiet_s < config.quiet_seconds:
        return Decision(None)
    return Decision(SeriesEvent.WENT_QUIET, _missing(grid, len(instances), count, problems))


def _missing(grid: Grid | Gaps, have: int, count: int | None, problems: Sequence[str]) -> str:
    told = [grid.text] if isinstance(grid, Gaps) else []
    if count is not None and have < count:
        told.append(f"{have} of {count} slices have come")
    told += problems
    return "; ".join(told)


def remembering(size: int = REMEMBERED) -> Callable[[Path], Instance]:
    """Return `headers.read` that reads a file once: what lies in the spool never changes."""

    @lru_cache(size)
    def read(path: Path) -> Instance:
        return headers.read(path)

    return read


@dataclass(slots=True)
class Track:
    """Takes receiving series to *complete* or *incomplete*. `now` gives seconds since 1970.

    A restart waits anew: what is left over from before is not complete because it is old. Every
    look at a series asks for all of its headers, so `read` remembers.
    """

    journal: Journal
    config: TrackConfig
    rules: tuple[Rule, ...]
    now: Callable[[], float]
    log: EventLog
    started_at: float
    read: Callable[[Path], Instance] = field(default_factory=remembering)
    _waits: dict[int, tuple[int, float]] = field(default_factory=dict)

    def run_once(self) -> int:
        """Look at every receiving series; returns how many moved."""
        rows = self.journal.series_due(SeriesState.RECEIVING)
        gone = set(self._waits) - {r.id for r in rows}
        for series_id in gone:
            del self._waits[series_id]
        return sum(self._look(row) for row in rows)

    def _look(self, row: SeriesRow) -> bool:
        quiet_s = self.now() - max(row.last_at, self.started_at)
        seen, look_at = self._waits.get(row.id, (0, 0.0))
        if seen == row.instances and self.now() < look_at:
            return False
        stored = self.journal.instances_of(row.key)
        read = [self._read(i) for i in stored]
        instances = [i for i in read if isinstance(i, Instance)]
        problems = [i for i in read if isinstance(i, str)]
        decision = decide(instances, quiet_s, self.config, self.rules, problems)
        if decision.event is None:
            self._waits[row.id] = (row.instances, self._next_look(quiet_s))
            return False
        try:
            state = self.journal.advance(
                row.key, decision.event, detail={"reason": decision.reason}, seen=len(stored)
            )
        except IllegalTransition:
            return False  # another slice came meanwhile
        self.log.event(SeriesTracked(row.key.series, len(stored), state, decision.reason))
        return True

    def _next_look(self, quiet_s: float) -> float:
        """When the answer can next be another one without a new slice."""
        for limit in (self.config.settle_seconds, self.config.quiet_seconds):
            if quiet_s < limit:
                return self.now() + limit - quiet_s
        return self.now() + self.config.settle_seconds

    def _read(self, row: InstanceRow) -> Instance | str:
        """Header of one object; a sentence when it cannot be read."""
        try:
            return self.read(row.path)
        except InputRefused as error:
            return str(error)
