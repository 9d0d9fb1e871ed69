"""The journal's objects: questions about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.journal.columns import read_state
from node.journal.database import Database
from node.journal.rows import InstanceRow, SeriesKey, row_uid
from node.journal.states import InstanceState

_INSTANCE: Final = (
    "SELECT i.sop_instance, i.digest, i.sop_class, i.transfer_syntax, i.path, i.bytes, i.calling_ae, i.state,"
    " i.reason, i.received_at, i.superseded_by, s.study, s.series"
    " FROM instance i LEFT JOIN series s ON s.id = i.series_id "
)
STORED: Final = (
    "SELECT digest, path, series_id FROM instance WHERE sop_instance = ? AND state = 'stored'"
)


@dataclass(frozen=True, slots=True)
class InstanceQueries:
    """What is known of every object; nothing here writes."""

    database: Database

    def of_series(self, key: SeriesKey, skip: int = 0) -> list[InstanceRow]:
        """Return the stored objects of a series, in order of arrival, without the first `skip`."""
        return self._instances(
            "WHERE s.study = ? AND s.series = ? AND i.state = 'stored' ORDER BY i.rowid"
            " LIMIT -1 OFFSET ?",
            *key,
            skip,
        )

    def unused(self, key: SeriesKey) -> list[InstanceRow]:
        """Return the quarantined and superseded objects of a series, in order of arrival."""
        return self._instances(
            "WHERE s.study = ? AND s.series = ? AND i.state IN ('quarantined', 'superseded')"
            " ORDER BY i.rowid",
            *key,
        )

    def iterate(self) -> Iterator[InstanceRow]:
        """Return every object, one after the other: there may be millions."""
        for row in self.database.query(_INSTANCE + "ORDER BY i.rowid"):
            yield InstanceRow.from_row(row, self.database.root)

    def quarantined(self) -> list[InstanceRow]:
        """Return the objects that were kept but cannot be used."""
        return self._instances("WHERE i.state = 'quarantined' ORDER BY i.rowid")

    def named(self, sop_instance_uid: str) -> list[InstanceRow]:
        """Return every object with this SOP Instance UID, whatever its state, in order of arrival."""
        return self._instances(
            "WHERE i.sop_instance = ? ORDER BY i.rowid", row_uid(sop_instance_uid)
        )

    def unused_counts(
        self, series_ids: Sequence[int] | None = None
    ) -> dict[SeriesKey, Counter[tuple[InstanceState, str]]]:
        """Return how many objects of each series are quarantined or superseded, by state and reason.

        series_ids: rows of the series that are asked about; None for all.
        """
        marks = "" if series_ids is None else ", ".join("?" * len(series_ids))
        # The plus keeps the few objects of a few series from being sought among all that are quarantined.
        among = "" if series_ids is None else f" AND i.series_id IN ({marks})"
        sign = "" if series_ids is None else "+"
        rows = self.database.query(
            "SELECT s.study, s.series, i.state, i.reason, count(*) AS objects FROM instance i"
            f" LEFT JOIN series s ON s.id = i.series_id WHERE {sign}i.state IN ('quarantined', 'superseded'){among}"
            " GROUP BY i.series_id, i.state, i.reason ORDER BY min(i.rowid)",
            series_ids or (),
        )
        counts: dict[SeriesKey, Counter[tuple[InstanceState, str]]] = {}
        for r in rows:
            key = SeriesKey(r["study"] or "", r["series"] or "")
            counts.setdefault(key, Counter())[
                read_state(InstanceState, r["state"]), r["reason"]
            ] += r["objects"]
        return counts

    def paths(self) -> set[str]:
        """Return every path an instance row names whose file was not purged, for comparing journal and disk."""
        rows = self.database.query("SELECT path FROM instance WHERE state <> 'purged'")
        return {str(self.database.root / r["path"]) for r in rows}

    def stored_digest(self, sop_instance_uid: str) -> tuple[str, Path] | None:
        """Return the digest and path of the stored object with this UID."""
        row = self.database.query(STORED, (row_uid(sop_instance_uid),)).fetchone()
        return None if row is None else (row["digest"], self.database.root / row["path"])

    def _instances(self, where: str, *values: str | int) -> list[InstanceRow]:
        rows = self.database.query(_INSTANCE + where, values)
        return [InstanceRow.from_row(r, self.database.root) for r in rows]
