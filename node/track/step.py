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

from dicomseg.read.instance import Instance
from dicomseg.read.predicates import MR_CLASSES
from dicomseg.read.rules import Rule
from node.clock import Ages, Clock
from node.config.sections import TrackConfig
from node.events import Log, SeriesTracked
from node.journal.journal import Journal
from node.journal.rows import InstanceRow, SeriesKey, SeriesRow
from node.journal.states import InstanceState, SeriesState
from node.step import PutOff, each, read_headers
from node.track.completeness import announced, decide
from node.track.header_cache import remembering

PAUSE_S: Final = 0.2
"""A series whose last slice is younger than this is still coming, and is looked at no more often."""

LOOKS_SHARE: Final = 0.2
"""Largest share of the time that is spent on looks at series that are still coming: the reception
needs the machine, and most looks at half a series are for nothing."""

ASK_AFTER_S: Final = 2.0
"""Silence after which the sender is asked what it holds: it may itself still be receiving the series."""

ASK_AGAIN_S: Final = 1.0
"""How soon an answer of the sender is seen."""


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
    _rest_until: float = 0.0
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
        instances, set_aside = read_headers(self.journal, row.key, self.read, self.log)
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
        _, set_aside = read_headers(self.journal, row.key, self.read, self.log, before)
        self._wait(row, last.count, quiet_s, began)
        return bool(set_aside)

    def _wait(self, row: SeriesRow, count: int | None, quiet_s: float, began: float) -> None:
        now = self.clock.monotonic()
        waits = [self.config.settle_seconds - quiet_s, self.config.quiet_seconds - quiet_s]
        if self.config.expected_count == "query":
            waits.append(ASK_AFTER_S - quiet_s if quiet_s < ASK_AFTER_S else ASK_AGAIN_S)
        next_at = began + min((w for w in waits if w > 0), default=self.config.settle_seconds)
        # One share for all series that are coming: several senders need the machine more than one.
        self._rest_until = max(self._rest_until, now) + (now - began) / LOOKS_SHARE
        paused_until = max(now + PAUSE_S, self._rest_until)
        self._looks[row.id] = _Look((row.instances, row.last_at), count, next_at, paused_until)

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
