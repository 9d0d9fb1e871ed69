"""Which volume of a series is worked on, and which series of one acquisition: the rules' verdict.

Twins are one acquisition reconstructed twice, with and without distortion correction: same study,
frame of reference, grid, TE and TR. The corrected one is chosen; its distances are the true ones. Of
the images of a Dixon acquisition the water or in-phase one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.read import header as headers
from dicomseg.read.instance import Instance
from dicomseg.read.judge import could_accept
from dicomseg.read.reconstructions import (
    MAX_RANK,
    SeriesCandidate,
    judge_series,
    may_have_corrected_version,
    prefer_reconstructions,
)
from dicomseg.read.rules import Rule
from node.clock import Ages, Clock
from node.events import Log, SeriesEnded, noop_log
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.journal.states import SeriesEvent, SeriesState
from node.step import PutOff, each, read_headers

# ---- the step ------------------------------------------------------------------------------------

_RIVALS: Final = (
    SeriesState.COMPLETE,
    SeriesState.SELECTED,
    SeriesState.PROCESSING,
    SeriesState.ENCODED,
    SeriesState.DELIVERED,
)
"""States of series that may be preferred to the series that is judged now."""


CORRECTED_VERSION_S: Final = 2.0
"""Longest silence of a study for which an uncorrected series waits for its corrected version: the scanner
sends both within one association."""


@dataclass(slots=True)
class SelectStep:
    """Takes every complete series to *selected* or *skipped*. Times in seconds."""

    journal: Journal
    rules: tuple[Rule, ...]
    settle_s: float
    quiet_s: float
    clock: Clock
    log: Log = noop_log
    read: Callable[[Path], Instance] = headers.read_instance
    _ages: Ages = field(init=False)
    _eligible: dict[int, bool] = field(default_factory=dict)
    _made: dict[int, tuple[tuple[int, float], SeriesCandidate | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ages = Ages(self.clock, from_start=False)

    def run_once(self) -> int:
        """Judge what is complete; returns how many series moved."""
        rows = self.journal.series.due(SeriesState.COMPLETE)
        if not rows:
            self._made.clear()
            self._eligible.clear()
        moved = each(rows, self._judge, PutOff(self.journal, "select", self.clock, self.log))
        self._ages.keep({r.id for r in rows} | {r.key.study for r in rows})
        return moved

    def _judge(self, row: SeriesRow) -> bool:
        candidate = self._candidate(row)
        if candidate is None:
            return True  # an object was set aside, and the tracker has the series again
        verdict = candidate.verdict
        if verdict.value == "yes":
            if may_have_corrected_version(candidate) and self._study_is_arriving(row):
                return False
            verdict = prefer_reconstructions([candidate, *self._rivals(row, candidate)])[
                candidate.series
            ]
        event = SeriesEvent.RULES_ACCEPT if verdict.value == "yes" else SeriesEvent.RULES_REJECT
        detail: dict[str, object] = {
            "verdict": verdict.value,
            "rule": verdict.rule,
            "reason": "; ".join(verdict.reasons),
            # The scanner, which the calling AE title is not where a PACS forwards for several.
            "station": candidate.instances[0].station_name if candidate.instances else "",
        }
        self.journal.series.advance(row.key, event, detail=detail, seen=row.instances)
        if event is SeriesEvent.RULES_REJECT:
            seconds = round(self.clock.since(row.last_at), 2)
            reason = "; ".join(verdict.reasons)
            self.log(SeriesEnded(row.key.series, SeriesState.SKIPPED, reason, seconds))
        return True

    def _candidate(self, row: SeriesRow) -> SeriesCandidate | None:
        """One series as it is judged; None when an object of it was set aside just now."""
        version = (row.instances, row.last_at)
        known = self._made.get(row.id)
        if known is None or known[0] != version:
            instances, set_aside = read_headers(self.journal, row.key, self.read, self.log)
            judged = None if set_aside else judge_series(row.key.series, instances, self.rules)
            known = self._made[row.id] = (version, judged)
        return known[1]

    def _study_is_arriving(self, row: SeriesRow) -> bool:
        """Whether a corrected version may still arrive: bounded by `quiet_s` since the series was complete."""
        if self._ages.of(row.id, row.state_at, row.state_at) >= self.quiet_s:
            return False
        study = self.journal.series.of_study(row.key.study)
        newest_at = max(s.last_at for s in study)
        silent_s = self._ages.of(row.key.study, newest_at, newest_at)
        receiving = [s for s in study if s.state is SeriesState.RECEIVING]
        return silent_s < min(self.settle_s, CORRECTED_VERSION_S) or any(
            map(self._may_be_eligible, receiving)
        )

    def _may_be_eligible(self, row: SeriesRow) -> bool:
        """Whether a series that still arrives may be a corrected version: no rule could accept most of a study's others."""
        if row.id not in self._eligible:
            instances, _ = read_headers(self.journal, row.key, self.read, self.log)
            self._eligible[row.id] = not instances or could_accept(instances[0], self.rules)
        return self._eligible[row.id]

    def _rivals(self, row: SeriesRow, candidate: SeriesCandidate) -> list[SeriesCandidate]:
        """Other series of the study that could be preferred to this one."""
        if candidate.preference == (0, MAX_RANK):
            return []
        study = self.journal.series.of_study(row.key.study)
        rivals: list[SeriesCandidate] = []

        def add(rival: SeriesRow) -> bool:
            judged = self._candidate(rival)
            if judged is not None:
                rivals.append(judged)
            return judged is not None

        # What cannot be judged itself is not preferred; its own turn records why.
        each([s for s in study if s.id != row.id and s.state in _RIVALS], add, _nothing)
        return rivals


def _nothing(_row: SeriesRow, _error: Exception) -> None:
    """Say nothing."""
