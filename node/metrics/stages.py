"""Seconds of every stage as a histogram, and counts of changes, from the journal's events as they are added."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from node.journal.figures import MOST_MOVES, Figures
from node.journal.states import DeliveryEvent, SeriesEvent
from node.metrics import catalogue
from node.metrics.exposition import Histogram
from node.metrics.tally import Tally

BOUNDS_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""A stage takes from half a second to a night without the PACS."""

_STAGES: Final = {
    SeriesEvent.GEOMETRY_COMPLETE: "complete",
    SeriesEvent.SETTLED_INELIGIBLE: "complete",
    SeriesEvent.WENT_QUIET: "complete",
    SeriesEvent.RULES_ACCEPT: "select",
    SeriesEvent.RULES_REJECT: "select",
    SeriesEvent.CLAIMED: "queue",
    SeriesEvent.RESULTS_PUBLISHED: "process",
    SeriesEvent.NOT_IN_VIEW: "process",
    SeriesEvent.REFUSED: "process",
    DeliveryEvent.PEER_ACCEPTED: "deliver",
}
"""Stage that an event ends, as in `node.observe.timeline`."""


@dataclass(slots=True)
class _Counts:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total: float = 0.0


@dataclass(slots=True)
class Stages:
    """What was added to the journal since this object was made.

    Counts of changes and of received objects go to the tally.
    """

    figures: Figures
    tally: Tally
    _stages: dict[str, _Counts] = field(default_factory=dict)
    _move: int = field(init=False)
    _object: int = field(init=False)

    def __post_init__(self) -> None:
        self._move, self._object = self.figures.last_move(), self.figures.last_object()

    def look(self) -> None:
        """Read what was added; one thread at a time."""
        last = self.figures.last_object()
        for came in self.figures.objects_after(self._object, last):
            self.tally.add(catalogue.OBJECTS_RECEIVED, came.sender, came.state, by=came.objects)
            self.tally.add(catalogue.BYTES_RECEIVED, came.sender, by=came.bytes)
        self._object = last
        number = MOST_MOVES
        while number == MOST_MOVES:
            number = 0
            for number, move in enumerate(self.figures.moves_after(self._move), 1):  # noqa: B007
                self._count(move.event, move.destination, move.at, move.since)
                self._move = move.id

    def _count(self, event: str, destination: str, at: float, since: float | None) -> None:
        if destination:
            self.tally.add(catalogue.DELIVERY_EVENTS, destination, event)
        else:
            self.tally.add(catalogue.SERIES_EVENTS, event)
        stage = _STAGES.get(event)  # type: ignore[call-overload]
        if stage is not None and since is not None:
            seconds = max(0.0, at - since)
            counts = self._stages.setdefault(stage, _Counts())
            counts.counts[bisect_left(BOUNDS_S, seconds)] += 1
            counts.total += seconds

    def histograms(self) -> dict[tuple[str, ...], Histogram]:
        """Return the seconds of every stage."""
        return {
            (s,): Histogram(BOUNDS_S, tuple(c.counts), c.total) for s, c in self._stages.items()
        }
