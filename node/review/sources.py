"""Which series of ours a segmentation segments, by the references in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dicomseg.read.correction import References
from node.errors import UnknownUid
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey, SeriesRow
from node.journal.states import SeriesState

_ASKED: Final = 8
"""Series, and images, whose UIDs are looked up: a segmentation names one series, and each of its images."""
_ON_THE_WAY: Final = (
    SeriesState.RECEIVING,
    SeriesState.COMPLETE,
    SeriesState.SELECTED,
    SeriesState.PROCESSING,
)


@dataclass(frozen=True, slots=True)
class Segmented:
    """A series with its results, oldest first."""

    series: SeriesRow
    results: tuple[ResultRow, ...]

    @property
    def is_on_its_way(self) -> bool:
        """Whether another result may come soon."""
        return self.series.state in _ON_THE_WAY

    def newest(self) -> ResultRow | None:
        """Return the newest result whose folder is kept."""
        kept = [r for r in self.results if r.purged_at is None]
        return kept[-1] if kept else None


def find_segmented(journal: Journal, own: SeriesKey, named: References) -> list[Segmented]:
    """Return the series that a segmentation names, those with results where there are any. own: the series that it lies in."""
    by_series = _rows(journal, named.series[:_ASKED], by_series=True)
    rows = by_series or _rows(journal, named.images[:_ASKED], by_series=False)
    found = [
        Segmented(row, tuple(journal.results.of_series(row.key)))
        for row in {r.id: r for r in rows if r.key != own}.values()
    ]
    return [f for f in found if f.results] or found


def _rows(journal: Journal, uids: Sequence[str], *, by_series: bool) -> list[SeriesRow]:
    return [
        row for uid in uids for row in _find(journal, uid) if not by_series or row.key.series == uid
    ]


def _find(journal: Journal, uid: str) -> Iterable[SeriesRow]:
    try:
        return journal.series.find(uid)
    except UnknownUid:
        return ()
