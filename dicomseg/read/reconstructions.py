"""Choose the volume of a series, and the preferred reconstruction of one acquisition; pure.

Reconstructions of one acquisition, with and without distortion correction, share study, frame of
reference, grid, TE and TR. The corrected one is preferred: its distances are the true ones. Of the images
of a Dixon acquisition the water or in-phase one is preferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dicomseg.read.contrast import DIXON_RANK, Dixon, read_dixon
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.judge import Verdict, judge
from dicomseg.read.predicates import distortion_rank
from dicomseg.read.rules import Rule
from dicomseg.read.series import Grid, assemble_all, image_instances, same_geometry

DUPLICATE_TIME_TOLERANCE_MS: Final = 0.5
"""TE and TR of duplicate reconstructions come from one acquisition; exports round them."""


_CORRECTION: Final = ("uncorrected", "2D distortion-corrected", "3D distortion-corrected")
MAX_RANK: Final = len(_CORRECTION) - 1
"""Rank of a series whose distortion is corrected in 3D."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesCandidate:
    """One series as selection sees it. instances: all its objects; grid: the volume that was judged."""

    series: str
    instances: tuple[Instance, ...]
    grid: Grid | GeometryProblem
    verdict: Verdict

    @property
    def judged(self) -> tuple[Instance, ...]:
        """The objects that the verdict is about: those of the grid, else those that may be slices."""
        if isinstance(self.grid, Grid):
            return self.grid.instances
        return tuple(image_instances(self.instances))

    @property
    def first(self) -> Instance:
        """The object that represents the series."""
        return self.judged[0]

    @property
    def rank(self) -> int:
        """How well distortion is corrected: 0 not, 1 in 2D, 2 in 3D."""
        return distortion_rank(self.first)

    @property
    def dixon(self) -> Dixon:
        """Which image of a Dixon acquisition it is; "" for none."""
        return read_dixon(self.first)

    @property
    def preference(self) -> tuple[int, int]:
        """Among the series of one acquisition the highest is preferred."""
        return -DIXON_RANK[self.dixon], self.rank

    @property
    def name(self) -> str:
        """The series as messages name it."""
        number = "?" if self.first.series_number is None else str(self.first.series_number)
        return f"series {number} {self.first.series_description!r}"


def judge_series(
    series: str, instances: Sequence[Instance], rules: Sequence[Rule]
) -> SeriesCandidate:
    """Assemble and judge one series by itself: of several volumes the first that a rule accepts."""
    received, grids = tuple(instances), assemble_all(instances)
    if isinstance(grids, GeometryProblem):
        verdict = judge(image_instances(received) or received, grids, rules)
        return SeriesCandidate(series, received, grids, verdict)
    candidates = [SeriesCandidate(series, received, g, judge(g.instances, g, rules)) for g in grids]
    best = min(candidates, key=lambda c: _ORDER[c.verdict.value])
    return replace(best, verdict=_with_set_aside(best.verdict, grids[candidates.index(best)]))


_ORDER: Final = {"yes": 0, "unknown": 1, "no": 2}


def _with_set_aside(verdict: Verdict, grid: Grid) -> Verdict:
    """Add what of an accepted series is left out."""
    if verdict.value != "yes":
        return verdict
    omitted = tuple(f"set aside: {s.text}" for s in grid.set_aside)
    return replace(verdict, reasons=(*verdict.reasons, *omitted))


def prefer_reconstructions(study: Sequence[SeriesCandidate]) -> Mapping[str, Verdict]:
    """Return the verdicts of one study's series: as judged, but of one acquisition only the best is accepted."""
    return {c.series: _among(c, study) for c in study}


def _among(mine: SeriesCandidate, study: Sequence[SeriesCandidate]) -> Verdict:
    if mine.verdict.value != "yes":
        return mine.verdict
    better = [c for c in study if is_preferred_over(c, mine)]
    if not better:
        return mine.verdict
    chosen = max(better, key=lambda c: c.preference)
    if DIXON_RANK[chosen.dixon] < DIXON_RANK[mine.dixon]:
        reason = f"{mine.dixon} image of a Dixon acquisition; {chosen.name}, the {chosen.dixon or 'plain'} image, is used"
    else:
        reason = (
            f"duplicate reconstruction of {chosen.name}; the {_CORRECTION[chosen.rank]} one is used"
        )
    return Verdict("no", mine.verdict.rule, (reason,))


def is_preferred_over(other: SeriesCandidate, mine: SeriesCandidate) -> bool:
    """Whether `other` is of the same acquisition as `mine`, eligible and preferred to it."""
    if other.series == mine.series or other.verdict.value != "yes":
        return False
    if isinstance(other.grid, GeometryProblem) or isinstance(mine.grid, GeometryProblem):
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
    return abs(a - b) <= DUPLICATE_TIME_TOLERANCE_MS


def may_have_corrected_version(mine: SeriesCandidate) -> bool:
    """Whether a preferred series of its acquisition may still come: it is uncorrected (ND), or no water image."""
    uncorrected = mine.rank == 0 and "ND" in mine.first.image_type
    return uncorrected or DIXON_RANK[mine.dixon] > 0
