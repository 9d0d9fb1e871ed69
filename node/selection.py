"""Which complete series is worked on: the rules' verdict, and one of twins.

Twins are one acquisition reconstructed twice, with and without distortion correction: same study,
frame of reference, grid, TE and TR. The corrected one is chosen; its distances are the true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomseg import headers
from dicomseg.errors import InputRefused
from dicomseg.headers import Instance, distortion_rank
from dicomseg.series import Gaps, Grid, assemble, same_geometry
from node.errors import IllegalTransition
from node.events import SeriesEnded, unheard
from node.journal import Journal
from node.records import SeriesKey, SeriesRow
from node.rules import Rule, Verdict, judge
from node.states import SeriesEvent, SeriesState

TWIN_TIME_TOLERANCE_MS: Final = 0.5
"""TE and TR of twins come from one acquisition; exports round them."""

_CORRECTION: Final = ("without distortion correction", "corrected in 2D", "corrected in 3D")


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One series as selection sees it."""

    series: str
    instances: tuple[Instance, ...]
    grid: Grid | Gaps
    verdict: Verdict

    @property
    def rank(self) -> int:
        """How well distortion is corrected: 0 not, 1 in 2D, 2 in 3D."""
        return distortion_rank(self.instances[0])

    @property
    def name(self) -> str:
        """What people call the series."""
        first = self.instances[0]
        number = "?" if first.series_number is None else str(first.series_number)
        return f"series {number} {first.series_description!r}"


def candidate(series: str, instances: Sequence[Instance], rules: Sequence[Rule]) -> Candidate:
    """Assemble and judge one series by itself."""
    grid = assemble(instances)
    return Candidate(series, tuple(instances), grid, judge(instances, grid, rules))


def choose(study: Sequence[Candidate]) -> Mapping[str, Verdict]:
    """Return the verdicts of one study's series: as judged, but only the better of twins is accepted."""
    return {c.series: _with_twins(c, study) for c in study}


def _with_twins(mine: Candidate, study: Sequence[Candidate]) -> Verdict:
    if mine.verdict.value != "yes":
        return mine.verdict
    better = [c for c in study if is_better_twin(c, mine)]
    if not better:
        return mine.verdict
    chosen = max(better, key=lambda c: c.rank)
    reason = f"twin of {chosen.name}, which is {_CORRECTION[chosen.rank]} and was chosen; this one is {_CORRECTION[mine.rank]}"
    return Verdict("no", mine.verdict.rule, (reason,))


def is_better_twin(other: Candidate, mine: Candidate) -> bool:
    """Whether `other` is the same acquisition as `mine`, eligible and better corrected."""
    if other.series == mine.series or other.rank <= mine.rank or other.verdict.value != "yes":
        return False
    if isinstance(other.grid, Gaps) or isinstance(mine.grid, Gaps):
        return False
    a, b = other.instances[0], mine.instances[0]
    return (
        a.study_uid == b.study_uid
        and _alike(a.echo_time_ms, b.echo_time_ms)
        and _alike(a.repetition_time_ms, b.repetition_time_ms)
        and same_geometry(other.grid, mine.grid)
    )


def _alike(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= TWIN_TIME_TOLERANCE_MS


def may_have_a_twin(mine: Candidate) -> bool:
    """Whether a better corrected twin may still come: the scanner says it did not correct (ND)."""
    return mine.rank == 0 and "ND" in mine.instances[0].image_type


# ---- the step ------------------------------------------------------------------------------------

_RIVALS: Final = (
    SeriesState.COMPLETE,
    SeriesState.SELECTED,
    SeriesState.PROCESSING,
    SeriesState.ENCODED,
    SeriesState.DELIVERED,
)
"""States of series that may be the better twin of one that is judged now."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Takes every complete series to *selected* or *skipped*. Times in seconds."""

    journal: Journal
    rules: tuple[Rule, ...]
    settle_s: float
    quiet_s: float
    now: Callable[[], float]
    told: Callable[[object], None] = unheard
    read: Callable[[Path], Instance] = headers.read

    def run_once(self) -> int:
        """Judge what is complete; returns how many series moved."""
        return sum(self._judge(row) for row in self.journal.series_due(SeriesState.COMPLETE))

    def _judge(self, row: SeriesRow) -> bool:
        try:
            mine = self._candidate(row.key)
            verdict = mine.verdict
            if verdict.value == "yes":
                if may_have_a_twin(mine) and self._study_is_arriving(row):
                    return False
                verdict = choose([mine, *self._rivals(row, mine)])[mine.series]
        except InputRefused as error:
            verdict = Verdict("no", None, (str(error),))
        event = SeriesEvent.RULES_ACCEPT if verdict.value == "yes" else SeriesEvent.RULES_REJECT
        detail: dict[str, object] = {
            "verdict": verdict.value,
            "rule": verdict.rule,
            "reason": "; ".join(verdict.reasons),
        }
        try:
            self.journal.advance(row.key, event, detail=detail, seen=row.instances)
        except IllegalTransition:
            return False  # a slice came meanwhile; the tracker has the series again
        if event is SeriesEvent.RULES_REJECT:
            seconds = round(self.now() - row.last_at, 2)
            reason = "; ".join(verdict.reasons)
            self.told(SeriesEnded(row.key.series, SeriesState.SKIPPED, reason, seconds))
        return True

    def _candidate(self, key: SeriesKey) -> Candidate:
        found = [self.read(row.path) for row in self.journal.instances_of(key)]
        return candidate(key.series, found, self.rules)

    def _study_is_arriving(self, row: SeriesRow) -> bool:
        """Whether a twin may still be on its way: bounded by `quiet_s` since the series was complete."""
        now = self.now()
        if now - row.state_at >= self.quiet_s:
            return False
        study = self.journal.study_series(row.key.study)
        receiving = any(s.state is SeriesState.RECEIVING for s in study)
        return receiving or now - max(s.last_at for s in study) < self.settle_s

    def _rivals(self, row: SeriesRow, mine: Candidate) -> list[Candidate]:
        """Other series of the study that could be twins of an uncorrected or 2D-corrected one."""
        if mine.rank == len(_CORRECTION) - 1:
            return []
        study = self.journal.study_series(row.key.study)
        return [self._candidate(s.key) for s in study if s.id != row.id and s.state in _RIVALS]
