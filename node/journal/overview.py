"""Questions that people ask about many series at once; nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.journal.database import Database
from node.journal.rows import SeriesRow
from node.journal.series import SERIES_COLUMNS
from node.journal.states import SeriesState

_WHERE: Final = (
    " WHERE (:state IS NULL OR state = :state OR (:state IN ('quarantined', 'superseded')"
    " AND id IN (SELECT series_id FROM instance WHERE state = :state)))"
    " AND (:since IS NULL OR last_at >= :since)"
    " AND (:sender IS NULL OR id IN (SELECT series_id FROM instance WHERE calling_ae = :sender))"
)
_ALL: Final = -1
"""SQLite's LIMIT for all rows."""


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Which series are wanted; None is any.

    state: of the series; quarantined and superseded also match series with such objects. since:
    of the last object, in seconds since 1970. sender: calling AE title of an object.
    """

    state: SeriesState | None = None
    since: float | None = None
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """What one calling AE title sent. last_at: time of its last object, in seconds since 1970."""

    ae_title: str
    last_at: float
    objects: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Queries over all series and objects."""

    database: Database

    def newest(self, wanted: SeriesFilter, limit: int | None = None) -> list[SeriesRow]:
        """Return the wanted series, newest object first."""
        values = {**_values(wanted), "limit": _ALL if limit is None else limit}
        sql = f"{SERIES_COLUMNS}{_WHERE} ORDER BY last_at DESC, id DESC LIMIT :limit"
        return [SeriesRow.from_row(r) for r in self.database.query(sql, values)]

    def count(self, wanted: SeriesFilter) -> int:
        """Return the number of wanted series."""
        sql = f"SELECT count(*) AS number FROM series{_WHERE}"
        return int(self.database.query(sql, _values(wanted)).fetchone()["number"])

    def sample_files(self, series_ids: Sequence[int]) -> dict[int, Path]:
        """Return a file of each series by the id of its row: a stored one before one that was superseded or refused.

        The first object of a series whose header was corrected has the identity that is not right any more.
        """
        marks = ", ".join("?" * len(series_ids))
        rows = self.database.query(
            "SELECT series_id, path FROM instance WHERE rowid IN (SELECT"
            " (SELECT i.rowid FROM instance i WHERE i.series_id = s.id"
            "  ORDER BY i.state <> 'stored', i.rowid LIMIT 1)"
            f" FROM series s WHERE s.id IN ({marks}))",
            series_ids,
        )
        return {r["series_id"]: self.database.root / r["path"] for r in rows}

    def senders(self) -> list[Sender]:
        """Return every calling AE title, latest first."""
        rows = self.database.query(
            "SELECT calling_ae, max(received_at) AS last_at, count(*) AS objects FROM instance"
            " GROUP BY calling_ae ORDER BY last_at DESC, calling_ae"
        )
        return [Sender(r["calling_ae"], r["last_at"], r["objects"]) for r in rows]


def _values(wanted: SeriesFilter) -> dict[str, str | float | None]:
    return {"state": wanted.state, "since": wanted.since, "sender": wanted.sender}
