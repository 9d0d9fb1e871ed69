"""The step that keeps `[retention]`: once a minute, series by series, so that a stop never waits long."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.retention import RetentionConfig
from node.errors import BeingPurged, IllegalTransition
from node.events import Log, PurgeResumed, QuarantinePurged, RetentionShort, SeriesPurged
from node.journal.journal import Journal
from node.journal.purge_rows import Purgeable
from node.retention import plan
from node.retention.plan import DAY_S, Chosen, Space
from node.retention.purge import Purger, purging
from node.store.layout import StateDirectory
from node.store.sizes import ResultSizes

LOOK_S: Final = 60.0
MOST_AT_ONCE: Final = 50
"""Series that one look purges; the next one follows at once when there are more."""


@dataclass(slots=True)
class RetentionStep:
    """Purges what the limits say, and what a killed purge left. free: returns the free bytes of the disk."""

    journal: Journal
    limits: RetentionConfig
    state: Path
    clock: Clock
    log: Log
    free: Callable[[], int]
    _sizes: ResultSizes = field(init=False)
    _due: float = 0.0
    _is_short: bool = False

    def __post_init__(self) -> None:
        self._sizes = ResultSizes(StateDirectory(self.state).results)

    @classmethod
    def of(
        cls, journal: Journal, limits: RetentionConfig, state: Path, clock: Clock, log: Log
    ) -> RetentionStep:
        """Build it for the disk of a state folder."""
        return cls(journal, limits, state, clock, log, lambda: shutil.disk_usage(state).free)

    def run_once(self) -> int:
        """Purge what is due; returns the number of series and groups of quarantined objects."""
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_S
        try:
            with purging(self.state):
                moved = self._run()
        except BeingPurged:  # a person's command; it finishes what is left too
            return 0
        if moved >= MOST_AT_ONCE:
            self._due = now
        return moved

    def _run(self) -> int:
        purger = Purger(self.journal)
        resumed = purger.finish()
        if resumed:
            self.log(PurgeResumed(resumed))
        if self.limits.is_off:
            return resumed
        return resumed + self._quarantine(purger) + self._series(purger)

    def _quarantine(self, purger: Purger) -> int:
        if not self.limits.quarantine_days and not self.limits.quarantine_gb:
            return 0
        groups = plan.quarantine(self.journal.purges.quarantined(), self.limits, self.clock.wall())
        for objects, reason in groups:
            purger.quarantined(objects, reason)
            self.log(QuarantinePurged(reason, len(objects), sum(o.bytes for o in objects)))
        return len(groups)

    def _series(self, purger: Purger) -> int:
        purged = 0
        for chosen in self._chosen():
            try:
                purger.series(chosen.series, chosen.reason)
            except IllegalTransition:
                continue  # a late slice came, or a person asked for another try
            series = chosen.series
            self.log(
                SeriesPurged(
                    series.key.series, series.state, chosen.reason, series.objects, chosen.bytes
                )
            )
            purged += 1
            if purged >= MOST_AT_ONCE:
                break
        return purged

    def _chosen(self) -> Iterator[Chosen]:
        now = self.clock.wall()
        days = [d for d in (self.limits.delivered_days, self.limits.skipped_days) if d]
        if days:
            old = self._measured(now - min(days) * DAY_S)
            yield from plan.by_age(old, self.limits, now)
        if self.limits.keep_gb or self.limits.free_gb:
            yield from self._for_space(now)

    def _for_space(self, now: float) -> Iterator[Chosen]:
        """Yield what leaves because of the disk; it is measured when the caller has purged what is too old."""
        space = self._space()
        excess, reason = plan.excess(self.limits, space)
        if excess <= 0:
            self._is_short = False
            return
        for chosen in plan.by_space(self._measured(None), self.limits, space, now):
            excess -= chosen.bytes
            yield chosen
        if excess > 0 and not self._is_short:
            self.log(RetentionShort(reason, excess))
        self._is_short = excess > 0

    def _space(self) -> Space:
        """Measure the disk; results that were not yet measured count from the next looks on."""
        used = 0
        if self.limits.keep_gb:
            results = self._sizes.look()
            used = self.journal.purges.kept_bytes() + (results or 0)
        return Space(used, self.free())

    def _measured(self, before: float | None) -> Iterator[tuple[Purgeable, int]]:
        for series in self.journal.purges.candidates(before):
            yield series, series.bytes + sum(map(self._sizes.of, series.folders))
