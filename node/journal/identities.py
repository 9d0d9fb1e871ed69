"""Digests of what headers say of patient and order, by which a search finds series among very many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.journal.database import Database
from node.journal.rows import SeriesRow
from node.journal.series import SERIES_COLUMNS


@dataclass(frozen=True, slots=True)
class Unread:
    """A series whose header is to be read. seen: the count of reasons for that, when it was found."""

    series_id: int
    seen: int


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """What the header of a series says. patient, accession: digests, None without a value. study_day: YYYYMMDD."""

    series_id: int
    seen: int
    patient: bytes | None
    accession: bytes | None
    study_day: str | None


@dataclass(frozen=True, slots=True)
class IdentityTable:
    """Digests by series. The key that made them is not known here, only its fingerprint."""

    database: Database

    def fingerprint(self) -> bytes | None:
        """Return the fingerprint of the key that made the digests; None before the first."""
        row = self.database.query("SELECT fingerprint FROM identity_key").fetchone()
        return None if row is None else bytes(row["fingerprint"])

    def use(self, fingerprint: bytes) -> bool:
        """Use another key: digests of an earlier one are gone, and every header is to be read. False: it is in use."""
        if self.fingerprint() == fingerprint:
            return False
        with self.database.transaction() as tx:
            tx.execute("INSERT OR REPLACE INTO identity_key (id, fingerprint) VALUES (1, ?)", (fingerprint,))  # fmt: skip
            tx.execute("UPDATE identity SET patient = NULL, accession = NULL, unread = unread + 1")
        return True

    def unread(self, limit: int) -> list[Unread]:
        """Return series whose header is to be read, newest first."""
        rows = self.database.query(
            "SELECT series_id, unread FROM identity WHERE unread > 0 ORDER BY series_id DESC LIMIT ?",
            (limit,),
        )
        return [Unread(r["series_id"], r["unread"]) for r in rows]

    def write(self, rows: Sequence[IdentityRow]) -> None:
        """Write what was read, where nothing has happened to the series since."""
        with self.database.transaction() as tx:
            for row in rows:
                tx.execute(
                    "UPDATE identity SET unread = 0, patient = ?, accession = ?, study_day = ?"
                    " WHERE series_id = ? AND unread = ?",
                    (row.patient, row.accession, row.study_day, row.series_id, row.seen),
                )

    def find(self, patient: bytes, accession: bytes) -> list[SeriesRow]:
        """Return the series with one of these digests whose header was read, newest first."""
        # Each by its index: an OR in one condition, or the order, would read every row.
        rows = self.database.query(
            f"{SERIES_COLUMNS}WHERE id IN (SELECT series_id FROM identity WHERE patient = ? AND unread = 0"
            " UNION SELECT series_id FROM identity WHERE accession = ? AND unread = 0)"
            " ORDER BY +last_at DESC, id DESC",
            (patient, accession),
        )
        return [SeriesRow.from_row(r) for r in rows]

    def unread_rows(self, limit: int) -> list[SeriesRow]:
        """Return the newest series whose header is still to be read."""
        rows = self.database.query(
            f"{SERIES_COLUMNS}WHERE id IN (SELECT series_id FROM identity WHERE unread > 0)"
            " ORDER BY last_at DESC, id DESC LIMIT ?",
            (limit,),
        )
        return [SeriesRow.from_row(r) for r in rows]

    def of_day(self, study_day: str) -> set[int]:
        """Return the ids of the series of studies of a day, YYYYMMDD."""
        rows = self.database.query("SELECT series_id FROM identity WHERE study_day = ?", (study_day,))  # fmt: skip
        return {r["series_id"] for r in rows}
