"""Whether a receiving series is complete, incomplete, or to be waited for (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.judge import could_accept
from dicomseg.read.rules import Rule
from dicomseg.read.series import Grid, assemble, count_differs, expected_count, image_instances
from node.config.sections import TrackConfig
from node.journal.states import SeriesEvent


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
    if (settled or quiet) and instances and not _may_be_eligible(instances, rules):
        return Decision(SeriesEvent.SETTLED_INELIGIBLE)
    if not quiet:
        return WAIT
    reasons = [grid.text] if isinstance(grid, GeometryProblem) else []
    if owed:
        reasons.append(f"{owed} objects that the sender holds were not received")
    elif count is not None and len(instances) < count:
        reasons.append(f"received {len(instances)} of {count} slices")
    return Decision(SeriesEvent.WENT_QUIET, "; ".join([*reasons, *problems]))


def _may_be_eligible(instances: Sequence[Instance], rules: Sequence[Rule]) -> bool:
    """Return whether a rule could accept the first or the last image."""
    images = image_instances(instances)
    return any(could_accept(image, rules) for image in (images[0], images[-1]))


def announced(instances: Sequence[Instance], config: TrackConfig) -> int | None:
    """Return how many slices the headers announce; None where they do not, or are not to be asked."""
    return expected_count(instances) if instances and config.expected_count != "none" else None


def _more_will_come(instances: Sequence[Instance], count: int | None, *, settled: bool) -> bool:
    if count is None:
        return not settled
    return len(instances) < count and instances[0].frames == 1


def _notes(grid: Grid, count: int | None = None) -> str:
    """What is unusual about a complete series: another number of slices, objects that were left out."""
    differs = [] if count is None else [count_differs(count, grid.shape[0])]
    return "; ".join([*differs, *(f"set aside: {s.text}" for s in grid.set_aside)])
