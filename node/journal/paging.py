"""Questions of pages that show a few of very many series: each is answered by an index, however long the journal is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import UnknownUid
from node.journal.database import Database
from node.journal.rows import SeriesRow
from node.journal.series import SERIES_COLUMNS
from node.journal.states import SeriesState

MOST_SENDERS: Final = 500
"""Calling AE titles that are listed."""
_WITH_OBJECTS: Final = frozenset({SeriesState.QUARANTINED, SeriesState.SUPERSEDED})
"""States that also an object of a series in another state may have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind the series with this time of its last object and this id."""

    at: float
    id: int


@dataclass(frozen=True, slots=True)
class PageFilter:
    """Which series are wanted; None is any. since, until: of the last object, in seconds since 1970.

    study_day: date of the study, YYYYMMDD.
    """

    state: SeriesState | None = None
    since: float | None = None
    until: float | None = None
    study_day: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """Deliveries of the newest results of a series in one state."""

    state: str
    number: int


@dataclass(frozen=True, slots=True)
class Paging:
    """Queries for pages; nothing here writes."""

    database: Database

    def page(
        self, wanted: PageFilter, place: Place | None, limit: int, *, newer: bool = False
    ) -> list[SeriesRow]:
        """Return the next `limit` series behind a place, newest first. newer: those before it instead."""
        values: dict[str, object] = {"limit": limit}
        where = list(_conditions(wanted, values))
        # A day of studies has few series: they are put in order, not looked for along the order of all.
        at = "last_at" if wanted.study_day is None else "+last_at"
        order = f"{at}, id" if newer else f"{at} DESC, id DESC"
        if place is not None:
            values |= {"at": place.at, "id": place.id}
            where.append(f"(last_at, id) {'>' if newer else '<'} (:at, :id)")
        clause = f"WHERE {' AND '.join(where)} " if where else ""
        sql = f"{SERIES_COLUMNS}{clause}ORDER BY {order} LIMIT :limit"
        rows = [SeriesRow.from_row(r) for r in self.database.query(sql, values)]
        return rows[::-1] if newer else rows

    def row(self, series_id: int) -> SeriesRow:
        """Return a series by the id of its row. Raises `UnknownUid`."""
        found = self.database.query(SERIES_COLUMNS + "WHERE id = ?", (series_id,)).fetchone()
        if found is None:
            raise UnknownUid(f"no series {series_id}")
        return SeriesRow.from_row(found)

    def rows(self, series_ids: Sequence[int]) -> list[SeriesRow]:
        """Return series by the ids of their rows, newest first."""
        marks = ", ".join("?" * len(series_ids))
        sql = f"{SERIES_COLUMNS}WHERE id IN ({marks}) ORDER BY last_at DESC, id DESC"
        return [SeriesRow.from_row(r) for r in self.database.query(sql, series_ids)]

    def newest_event(self, series_id: int) -> int:
        """Return the number of the newest event of a series and its deliveries, 0 before the first."""
        row = self.database.query(
            "SELECT coalesce(max(id), 0) FROM event WHERE series_id = ?", (series_id,)
        ).fetchone()
        return int(row[0])

    def senders_of(self, series_ids: Sequence[int]) -> dict[int, str]:
        """Return who sent the first object of each series, by the id of its row."""
        marks = ", ".join("?" * len(series_ids))
        rows = self.database.query(
            "SELECT series_id, calling_ae FROM instance WHERE rowid IN"
            f" (SELECT min(rowid) FROM instance WHERE series_id IN ({marks}) GROUP BY series_id)",
            series_ids,
        )
        return {r["series_id"]: r["calling_ae"] for r in rows}

    def deliveries_of(self, series_ids: Sequence[int]) -> dict[int, list[DeliveryCount]]:
        """Return the deliveries of results that are not superseded, counted by state, by the id of the series' row."""
        marks = ", ".join("?" * len(series_ids))
        rows = self.database.query(
            "SELECT r.series_id, d.state, count(*) AS number FROM result r JOIN delivery d USING (result_id)"
            f" WHERE r.series_id IN ({marks}) AND r.superseded_because = '' AND r.inputs = '[]' AND d.kind = 'result'"
            " GROUP BY r.series_id, d.state ORDER BY d.state",
            series_ids,
        )
        found: dict[int, list[DeliveryCount]] = {}
        for r in rows:
            found.setdefault(r["series_id"], []).append(DeliveryCount(r["state"], r["number"]))
        return found

    def series_counts(self) -> dict[str, int]:
        """Return the number of series in each state."""
        rows = self.database.query("SELECT state, count(*) AS number FROM series GROUP BY state")
        return {r["state"]: r["number"] for r in rows}

    def senders_seen(self) -> dict[str, float]:
        """Return when the last stored object of each calling AE title came, in seconds since 1970."""
        # From title to title by the index: a GROUP BY would read an entry per object.
        rows = self.database.query(
            "WITH RECURSIVE sender (name) AS (SELECT min(calling_ae) FROM instance UNION ALL"
            " SELECT (SELECT min(calling_ae) FROM instance WHERE calling_ae > name) FROM sender"
            " WHERE name IS NOT NULL LIMIT :most)"
            " SELECT name, (SELECT max(received_at) FROM instance WHERE calling_ae = name AND state = 'stored') AS at"
            " FROM sender WHERE name IS NOT NULL",
            {"most": MOST_SENDERS},
        )
        return {r["name"]: r["at"] or 0.0 for r in rows}

    def backlog(self) -> dict[str, dict[str, int]]:
        """Return the number of deliveries that are not confirmed, by destination and state."""
        rows = self.database.query(
            "SELECT destination, state, count(*) AS number FROM delivery"
            " WHERE state IN ('pending', 'waiting', 'sent', 'dead') AND NOT (state = 'dead' AND detail = 'superseded')"
            " GROUP BY destination, state"
        )
        found: dict[str, dict[str, int]] = {}
        for r in rows:
            found.setdefault(r["destination"], {})[r["state"]] = r["number"]
        return found

    def version(self) -> int:
        """Return a number that changes when another connection has written."""
        return int(self.database.query("PRAGMA data_version").fetchone()[0])


def _conditions(wanted: PageFilter, values: dict[str, object]) -> list[str]:
    """Return the conditions that are asked for, and put their values beside the others."""
    found = []
    if wanted.state is not None:
        values["state"] = wanted.state
        objects = " OR id IN (SELECT series_id FROM instance WHERE state = :state)"
        found.append(f"(state = :state{objects if wanted.state in _WITH_OBJECTS else ''})")
    if wanted.since is not None:
        values["since"] = wanted.since
        found.append("last_at >= :since")
    if wanted.until is not None:
        values["until"] = wanted.until
        found.append("last_at < :until")
    if wanted.study_day is not None:
        values["study_day"] = wanted.study_day
        found.append("id IN (SELECT series_id FROM identity WHERE study_day = :study_day)")
    return found
