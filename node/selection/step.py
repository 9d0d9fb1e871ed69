"""Which volume of a series is worked on, and which series of one acquisition: the rules' verdict.

Twins are one acquisition reconstructed twice, with and without distortion correction: same study,
frame of reference, grid, TE and TR. The corrected one is chosen; its distances are the true ones. Of
the images of a Dixon acquisition the water or in-phase one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from dicomseg.read import header as headers
from dicomseg.read.contrast import DIXON_RANK, Dixon, dixon_of
from dicomseg.read.header import Instance, distortion_rank
from dicomseg.read.rules import Rule, Verdict, could_accept, judge
from dicomseg.read.series import Gaps, Grid, grids, images, same_geometry
from node.clock import Ages, Clock
from node.events import SeriesEnded, unheard
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.journal.states import SeriesEvent, SeriesState
from node.step import PutOff, each, headers_of

TWIN_TIME_TOLERANCE_MS: Final = 0.5
"""TE and TR of twins come from one acquisition; exports round them."""

_CORRECTION: Final = ("without distortion correction", "corrected in 2D", "corrected in 3D")


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One series as selection sees it. instances: all its objects; grid: the volume that was judged."""

    series: str
    instances: tuple[Instance, ...]
    grid: Grid | Gaps
    verdict: Verdict

    @property
    def judged(self) -> tuple[Instance, ...]:
        """The objects that the verdict is about: those of the grid, else those that may be slices."""
        if isinstance(self.grid, Grid):
            return self.grid.instances
        return tuple(images(self.instances))

    @property
    def first(self) -> Instance:
        """One object that stands for the series."""
        return self.judged[0]

    @property
    def rank(self) -> int:
        """How well distortion is corrected: 0 not, 1 in 2D, 2 in 3D."""
        return distortion_rank(self.first)

    @property
    def dixon(self) -> Dixon:
        """Which image of a Dixon acquisition it is; "" for none."""
        return dixon_of(self.first)

    @property
    def preference(self) -> tuple[int, int]:
        """Among the series of one acquisition the highest is preferred."""
        return -DIXON_RANK[self.dixon], self.rank

    @property
    def name(self) -> str:
        """What people call the series."""
        number = "?" if self.first.series_number is None else str(self.first.series_number)
        return f"series {number} {self.first.series_description!r}"


def candidate(series: str, instances: Sequence[Instance], rules: Sequence[Rule]) -> Candidate:
    """Assemble and judge one series by itself: of several volumes the first that a rule accepts."""
    given, found = tuple(instances), grids(instances)
    if isinstance(found, Gaps):
        return Candidate(series, given, found, judge(images(given) or given, found, rules))
    made = [Candidate(series, given, g, judge(g.instances, g, rules)) for g in found]
    best = min(made, key=lambda c: _ORDER[c.verdict.value])
    return replace(best, verdict=_with_set_aside(best.verdict, found[made.index(best)]))


_ORDER: Final = {"yes": 0, "unknown": 1, "no": 2}


def _with_set_aside(verdict: Verdict, grid: Grid) -> Verdict:
    """Say also what of an accepted series is left out."""
    if verdict.value != "yes":
        return verdict
    told = tuple(f"set aside: {s.text}" for s in grid.set_aside)
    return replace(verdict, reasons=(*verdict.reasons, *told))


def choose(study: Sequence[Candidate]) -> Mapping[str, Verdict]:
    """Return the verdicts of one study's series: as judged, but of one acquisition only the best is accepted."""
    return {c.series: _among(c, study) for c in study}


def _among(mine: Candidate, study: Sequence[Candidate]) -> Verdict:
    if mine.verdict.value != "yes":
        return mine.verdict
    better = [c for c in study if is_better(c, mine)]
    if not better:
        return mine.verdict
    chosen = max(better, key=lambda c: c.preference)
    if DIXON_RANK[chosen.dixon] < DIXON_RANK[mine.dixon]:
        reason = f"{mine.dixon} of a Dixon acquisition; {chosen.name}, its {chosen.dixon or 'plain'} image, was chosen"
    else:
        reason = f"twin of {chosen.name}, which is {_CORRECTION[chosen.rank]} and was chosen; this one is {_CORRECTION[mine.rank]}"
    return Verdict("no", mine.verdict.rule, (reason,))


def is_better(other: Candidate, mine: Candidate) -> bool:
    """Whether `other` is of the same acquisition as `mine`, eligible and preferred to it."""
    if other.series == mine.series or other.verdict.value != "yes":
        return False
    if isinstance(other.grid, Gaps) or isinstance(mine.grid, Gaps):
        return False
    a, b = other.first, mine.first
    return (
        other.preference > mine.preference
        and a.study_uid == b.study_uid
        and (_alike(a.echo_time_ms, b.echo_time_ms) or bool(other.dixon and mine.dixon))
        and _alike(a.repetition_time_ms, b.repetition_time_ms)
        and same_geometry(other.grid, mine.grid)
    )


def _alike(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= TWIN_TIME_TOLERANCE_MS


def may_have_a_twin(mine: Candidate) -> bool:
    """Whether a preferred series of its acquisition may still come: it is uncorrected (ND), or no water image."""
    uncorrected = mine.rank == 0 and "ND" in mine.first.image_type
    return uncorrected or DIXON_RANK[mine.dixon] > 0


# ---- the step ------------------------------------------------------------------------------------

_RIVALS: Final = (
    SeriesState.COMPLETE,
    SeriesState.SELECTED,
    SeriesState.PROCESSING,
    SeriesState.ENCODED,
    SeriesState.DELIVERED,
)
"""States of series that may be the better twin of one that is judged now."""


TWIN_S: Final = 2.0
"""Longest silence of a study for which an uncorrected series waits for its corrected twin: the scanner
sends both within one association."""


@dataclass(slots=True)
class Selection:
    """Takes every complete series to *selected* or *skipped*. Times in seconds."""

    journal: Journal
    rules: tuple[Rule, ...]
    settle_s: float
    quiet_s: float
    clock: Clock
    told: Callable[[object], None] = unheard
    read: Callable[[Path], Instance] = headers.read
    _ages: Ages = field(init=False)
    _eligible: dict[int, bool] = field(default_factory=dict)
    _made: dict[int, tuple[tuple[int, float], Candidate | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ages = Ages(self.clock, anew=False)

    def run_once(self) -> int:
        """Judge what is complete; returns how many series moved."""
        rows = self.journal.series_due(SeriesState.COMPLETE)
        if not rows:
            self._made.clear()
            self._eligible.clear()
        moved = each(rows, self._judge, PutOff(self.journal, "select", self.clock, self.told))
        self._ages.keep({r.id for r in rows} | {r.key.study for r in rows})
        return moved

    def _judge(self, row: SeriesRow) -> bool:
        mine = self._candidate(row)
        if mine is None:
            return True  # an object was set aside, and the tracker has the series again
        verdict = mine.verdict
        if verdict.value == "yes":
            if may_have_a_twin(mine) and self._study_is_arriving(row):
                return False
            verdict = choose([mine, *self._rivals(row, mine)])[mine.series]
        event = SeriesEvent.RULES_ACCEPT if verdict.value == "yes" else SeriesEvent.RULES_REJECT
        detail: dict[str, object] = {
            "verdict": verdict.value,
            "rule": verdict.rule,
            "reason": "; ".join(verdict.reasons),
        }
        self.journal.advance(row.key, event, detail=detail, seen=row.instances)
        if event is SeriesEvent.RULES_REJECT:
            seconds = round(self.clock.since(row.last_at), 2)
            reason = "; ".join(verdict.reasons)
            self.told(SeriesEnded(row.key.series, SeriesState.SKIPPED, reason, seconds))
        return True

    def _candidate(self, row: SeriesRow) -> Candidate | None:
        """One series as it is judged; None when an object of it was set aside just now."""
        version = (row.instances, row.last_at)
        known = self._made.get(row.id)
        if known is None or known[0] != version:
            found, set_aside = headers_of(self.journal, row.key, self.read, self.told)
            made = None if set_aside else candidate(row.key.series, found, self.rules)
            known = self._made[row.id] = (version, made)
        return known[1]

    def _study_is_arriving(self, row: SeriesRow) -> bool:
        """Whether a twin may still be on its way: bounded by `quiet_s` since the series was complete."""
        if self._ages.of(row.id, row.state_at, row.state_at) >= self.quiet_s:
            return False
        study = self.journal.study_series(row.key.study)
        newest_at = max(s.last_at for s in study)
        silent_s = self._ages.of(row.key.study, newest_at, newest_at)
        receiving = [s for s in study if s.state is SeriesState.RECEIVING]
        return silent_s < min(self.settle_s, TWIN_S) or any(map(self._may_be_eligible, receiving))

    def _may_be_eligible(self, row: SeriesRow) -> bool:
        """Whether a series that still comes may be a twin: no rule could accept most of a study's others."""
        if row.id not in self._eligible:
            found, _ = headers_of(self.journal, row.key, self.read, self.told)
            self._eligible[row.id] = not found or could_accept(found[0], self.rules)
        return self._eligible[row.id]

    def _rivals(self, row: SeriesRow, mine: Candidate) -> list[Candidate]:
        """Other series of the study that could be preferred to this one."""
        if mine.preference == (0, len(_CORRECTION) - 1):
            return []
        study = self.journal.study_series(row.key.study)
        found: list[Candidate] = []

        def add(rival: SeriesRow) -> bool:
            made = self._candidate(rival)
            if made is not None:
                found.append(made)
            return made is not None

        # What cannot be judged itself is no better twin; its own turn says why.
        each([s for s in study if s.id != row.id and s.state in _RIVALS], add, _nothing)
        return found


def _nothing(_row: SeriesRow, _error: Exception) -> None:
    """Say nothing."""
