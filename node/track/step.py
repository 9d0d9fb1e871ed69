"""Track: when is a series complete? By geometry and count, not by a timer alone.

*Complete* is a regular grid with the count that its headers announce or its sender holds, or, where
neither is known, a regular grid and `settle_s` without a new slice. A count that is higher than what
came is no dead end: quiet and regular is complete, and the result says so. Quiet and not regular is
*incomplete*, with the gap named; unless no rule could accept the series whatever comes, then selection
may skip it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.judge import could_accept
from dicomseg.read.predicates import MR_CLASSES
from dicomseg.read.rules import Rule
from dicomseg.read.series import Grid, assemble, count_differs, expected_count, image_instances
from node.clock import Ages, Clock
from node.config.sections import TrackConfig
from node.events import Log, SeriesTracked
from node.journal.journal import Journal
from node.journal.rows import InstanceRow, SeriesKey, SeriesRow
from node.journal.states import InstanceState, SeriesEvent, SeriesState
from node.step import PutOff, each, frames_in_memory, headers_of

REMEMBERED: Final = 16384
"""Headers that are kept in memory, a few kilobytes each."""

FRAMES_OF_ONE: Final = 8
"""Frames of a multi-frame object that take the memory of one header: each has its own geometry, half a kilobyte."""

PAUSE_S: Final = 0.2
"""A series whose last slice is younger than this is still coming, and is looked at no more often."""

LOOKS_SHARE: Final = 0.2
"""Largest share of the time that is spent on looks at a series that is still coming: the reception
needs the machine, and most looks at half a series are for nothing."""

ASK_AFTER_S: Final = 2.0
"""Silence after which the sender is asked what it holds: it may itself still be receiving the series."""

ASK_AGAIN_S: Final = 1.0
"""How soon an answer of the sender is seen."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a receiving series: an event with its reason, or None to wait."""

    event: SeriesEvent | None
    reason: str = ""


WAIT: Final = Decision(None)


def decide(
    instances: Sequence[Instance],
    quiet_s: float,
    config: TrackConfig,
    rules: Sequence[Rule],
    problems: Sequence[str] = (),
    owed: int | None = None,
) -> Decision:
    """Decide for one series whose last slice came `quiet_s` ago (pure).

    problems: why images of the series could not be read. owed: objects that the sender holds beyond
    those that came, None where that is not known.
    """
    count = announced(instances, config)
    settled, quiet = quiet_s >= config.settle_seconds, quiet_s >= config.quiet_seconds
    if owed is None and not quiet and _more_will_come(instances, count, settled=settled):
        return WAIT
    grid: Grid | GeometryProblem = (
        assemble(instances)
        if instances
        else GeometryProblem("no-instances", "no object of the series can be read")
    )
    if isinstance(grid, Grid) and count is not None and grid.reaches(count) and not owed:
        return Decision(SeriesEvent.GEOMETRY_COMPLETE, _notes(grid))
    if isinstance(grid, Grid) and not problems and not owed:
        if count is None and not (settled or owed == 0):
            return WAIT
        if count is None or owed == 0 or (quiet if count > grid.shape[0] else settled):
            return Decision(SeriesEvent.GEOMETRY_COMPLETE, _notes(grid, count))
    if (
        (settled or quiet)
        and instances
        and not any(
            could_accept(i, rules)
            for i in (image_instances(instances)[0], image_instances(instances)[-1])
        )
    ):
        return Decision(SeriesEvent.SETTLED_INELIGIBLE)
    if not quiet:
        return WAIT
    reasons = [grid.text] if isinstance(grid, GeometryProblem) else []
    if owed:
        reasons.append(f"{owed} objects that the sender holds were not received")
    elif count is not None and len(instances) < count:
        reasons.append(f"received {len(instances)} of {count} slices")
    return Decision(SeriesEvent.WENT_QUIET, "; ".join([*reasons, *problems]))


def announced(instances: Sequence[Instance], config: TrackConfig) -> int | None:
    """How many slices the headers announce; None where they do not, or are not to be asked."""
    return expected_count(instances) if instances and config.expected_count != "none" else None


def _more_will_come(instances: Sequence[Instance], count: int | None, *, settled: bool) -> bool:
    if count is None:
        return not settled
    return len(instances) < count and instances[0].frames == 1


def _notes(grid: Grid, count: int | None = None) -> str:
    """What is unusual about a complete series: another number of slices, objects that were left out."""
    differs = [] if count is None else [count_differs(count, grid.shape[0])]
    return "; ".join([*differs, *(f"set aside: {s.text}" for s in grid.set_aside)])


def remembering(most: int = REMEMBERED) -> Callable[[Path], Instance]:
    """Return `headers.read_instance` that reads a file once: what lies in the spool never changes.

    most: headers that are kept, those with many frames counted by `FRAMES_OF_ONE`. For one thread.
    """
    kept: dict[Path, Instance] = {}
    weight = 0

    def read(path: Path) -> Instance:
        nonlocal weight
        found = kept.pop(path, None)
        if found is None:
            found = headers.read_instance(path)
            weight += _weight(found)
        kept[path] = found  # the order is that of use
        while weight > most:
            weight -= _weight(kept.pop(next(iter(kept))))
        return found

    return read


def _weight(instance: Instance) -> int:
    return 1 + frames_in_memory(instance) // FRAMES_OF_ONE


def _nothing_known(_key: SeriesKey, _version: object) -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class _Look:
    """The last look at a series: what was there, what its headers announce, when to look again.

    count: slices without which the series is not complete while they still come, None where that is not known. next_at: when the answer can be another one without a new slice. paused_until: when to look again
    though slices are still coming. Both by the monotonic clock.
    """

    version: tuple[int, float]
    count: int | None
    next_at: float
    paused_until: float


@dataclass(slots=True)
class TrackStep:
    """Takes receiving series to *complete* or *incomplete*.

    A restart waits from its own start: what an earlier life left is not complete because it is old. Every
    look at a series asks for all of its headers, so `read` remembers. held: what the sender of a series
    holds, without waiting for the answer.
    """

    journal: Journal
    config: TrackConfig
    rules: tuple[Rule, ...]
    clock: Clock
    log: Log
    read: Callable[[Path], Instance] = field(default_factory=remembering)
    held: Callable[[SeriesKey, object], int | None] = _nothing_known
    _looks: dict[int, _Look] = field(default_factory=dict)
    _ages: Ages = field(init=False)

    def __post_init__(self) -> None:
        self._ages = Ages(self.clock, from_start=True)

    def run_once(self) -> int:
        """Look at every receiving series; returns how many moved."""
        rows = self.journal.series.due(SeriesState.RECEIVING)
        moved = each(rows, self._look, PutOff(self.journal, "track", self.clock, self.log))
        ids = {r.id for r in rows}
        self._ages.keep(ids)
        for series_id in set(self._looks) - ids:
            del self._looks[series_id]
        return moved

    def _look(self, row: SeriesRow) -> bool:
        quiet_s = self._ages.of(row.id, row.last_at, row.last_at)
        began = self.clock.monotonic()
        if not self._may_say_more(row, quiet_s, began):
            return False
        last = self._looks.get(row.id)
        if last is not None and self._is_only_more(row, last, quiet_s):
            return self._glance(row, last, quiet_s, began)
        instances, set_aside = headers_of(self.journal, row.key, self.read, self.log)
        if set_aside:
            return True  # the journal has the series in another version
        unread = self._unread(row.key, instances)
        problems = [i.reason for i in unread if i.sop_class_uid in MR_CLASSES]
        owed = self._owed(row, quiet_s, len(instances) + len(unread))
        decision = decide(instances, quiet_s, self.config, self.rules, problems, owed)
        if decision.event is None:
            count = announced(instances, self.config)
            if instances and instances[0].frames > 1:
                count = None  # its frames come in one object
            self._wait(row, count, quiet_s, began)
            return False
        state = self.journal.series.advance(
            row.key, decision.event, detail={"reason": decision.reason}, seen=len(instances)
        )
        self.log(SeriesTracked(row.key.series, len(instances), state, decision.reason))
        return True

    def _may_say_more(self, row: SeriesRow, quiet_s: float, now: float) -> bool:
        """Whether a look may give another answer than the last one, and is worth its cost now."""
        last = self._looks.get(row.id)
        if last is None:
            return True
        if last.version == (row.instances, row.last_at):
            return now >= last.next_at
        return (
            now >= last.paused_until
            or quiet_s >= PAUSE_S
            or row.instances >= (math.inf if last.count is None else last.count)
        )

    def _is_only_more(self, row: SeriesRow, last: _Look, quiet_s: float) -> bool:
        """Whether the answer is known without a look: still fewer slices than announced, and still coming."""
        few = last.count is not None and row.instances < last.count
        patience_s = min(self.config.settle_seconds, self.config.quiet_seconds, ASK_AFTER_S)
        return few and quiet_s < patience_s and last.version != (row.instances, row.last_at)

    def _glance(self, row: SeriesRow, last: _Look, quiet_s: float, began: float) -> bool:
        """Read the headers that came since the last look, so that they are there when the series is complete."""
        before = last.version[0]
        _, set_aside = headers_of(self.journal, row.key, self.read, self.log, before)
        self._wait(row, last.count, quiet_s, began)
        return bool(set_aside)

    def _wait(self, row: SeriesRow, count: int | None, quiet_s: float, began: float) -> None:
        now = self.clock.monotonic()
        waits = [self.config.settle_seconds - quiet_s, self.config.quiet_seconds - quiet_s]
        if self.config.expected_count == "query":
            waits.append(ASK_AFTER_S - quiet_s if quiet_s < ASK_AFTER_S else ASK_AGAIN_S)
        next_at = began + min((w for w in waits if w > 0), default=self.config.settle_seconds)
        pause_s = max(PAUSE_S, (now - began) / LOOKS_SHARE)
        self._looks[row.id] = _Look((row.instances, row.last_at), count, next_at, now + pause_s)

    def _owed(self, row: SeriesRow, quiet_s: float, came: int) -> int | None:
        if self.config.expected_count != "query" or quiet_s < ASK_AFTER_S:
            return None
        held = self.held(row.key, (row.instances, row.last_at))
        return None if held is None else max(0, held - came)

    def _unread(self, key: SeriesKey, instances: Sequence[Instance]) -> list[InstanceRow]:
        """Objects of the series that came and cannot be used, and that no other one replaces."""
        stored = {i.sop_instance_uid for i in instances}
        return [
            i
            for i in self.journal.instances.unused(key)
            if i.state is InstanceState.QUARANTINED and i.sop_instance_uid not in stored
        ]
