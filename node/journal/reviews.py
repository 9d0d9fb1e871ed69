"""Results that wait for a physician's look, worst first, and what was decided of them.

A result is its own version: its values never change, so a decision needs nothing but that it still counts and that
no other physician decided before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from node.clock import at_text
from node.errors import ChangedMeanwhile, UnknownUid
from node.journal.columns import read_json
from node.journal.database import Database, Transaction
from node.journal.deliveries import DeliveryTable
from node.journal.requests import WITHDRAWN
from node.journal.rows import VERIFIED, SeriesKey
from node.journal.withdrawals import HELD, insert_withdrawals

REVIEW_CONFIRMED: Final = "review_confirmed"
REVIEW_REJECTED: Final = "review_rejected"
"""Events that change no state: a physician decided about a result."""
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"
REJECTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wrong_level": "the level is another disc",
        "wrong_outline": "outlines are wrong",
        "wrong_side": "sides, or artery and vein, are exchanged",
        "poor_images": "the images are not good enough",
        "wrong_patient": "wrong patient, study or order",
        "other": "another reason",
    }
)
"""Why a physician rejects a result. Codes only: what a person types may name the patient."""
_OPEN: Final = (
    "r.superseded_by = '' AND r.superseded_because = '' AND r.purged_at IS NULL AND r.inputs = '[]'"
)
_LISTED: Final = (
    "SELECT r.result_id, r.folder, r.created_at, r.doubt, r.doubts, r.series_id, s.study, s.series"
    f" FROM result r JOIN series s ON s.id = r.series_id WHERE r.review = '' AND {_OPEN} AND r.doubt IS NOT NULL "
)


@dataclass(frozen=True, slots=True)
class ReviewPlace:
    """Where a page begins: behind the result with this doubt, time of creation and id."""

    doubt: float
    created_at: float
    result_id: str


@dataclass(frozen=True, slots=True)
class ToReview:
    """A result that waits for a look. doubts: code, weight and text of each, heaviest first."""

    result_id: str
    folder: Path
    series_id: int
    series: SeriesKey
    created_at: float
    doubt: float
    doubts: tuple[Mapping[str, Any], ...]

    @property
    def place(self) -> ReviewPlace:
        """Where the page behind it begins."""
        return ReviewPlace(self.doubt, self.created_at, self.result_id)

    @classmethod
    def from_row(cls, row: sqlite3.Row, root: Path) -> Self:
        """Read a row of the query; root: folder of relative paths."""
        doubts = tuple(d for d in read_json(row["doubts"], list) if isinstance(d, dict))
        return cls(
            row["result_id"], root / row["folder"], row["series_id"],
            SeriesKey(row["study"], row["series"]), row["created_at"], row["doubt"], doubts,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What a physician decided. verdict: "" before it. reason: code of a rejection. at: seconds since 1970."""

    verdict: str = ""
    by: str = ""
    at: float = 0.0
    reason: str = ""
    organization: str = ""


@dataclass(frozen=True, slots=True)
class ReviewTable:
    """Doubts and decisions, each in one transaction."""

    database: Database
    deliveries: DeliveryTable

    # --- questions ---

    def page(
        self, place: ReviewPlace | None, limit: int, *, before: bool = False
    ) -> list[ToReview]:
        """Return the next `limit` results behind a place, most doubtful first. before: those before it instead."""
        values: dict[str, object] = {"limit": limit}
        where, order = "", "DESC"
        if place is not None:
            values |= {"doubt": place.doubt, "at": place.created_at, "id": place.result_id}
            sign = ">" if before else "<"
            where = f"AND (r.doubt, r.created_at, r.result_id) {sign} (:doubt, :at, :id) "
            order = "ASC" if before else "DESC"
        by = ", ".join(f"r.{name} {order}" for name in ("doubt", "created_at", "result_id"))
        rows = self.database.query(f"{_LISTED}{where}ORDER BY {by} LIMIT :limit", values)
        found = [ToReview.from_row(r, self.database.root) for r in rows]
        return found[::-1] if before else found

    def decision(self, result_id: str) -> Decision:
        """Return what was decided of a result. Raises `UnknownUid`."""
        row = self.database.query(_DECISION, (result_id,)).fetchone()
        if row is None:
            raise UnknownUid(f"no result {result_id}")
        return _decision(row)

    def doubts(self, result_id: str) -> list[str] | None:
        """Return what is in doubt of a result in words, heaviest first; None where it was not weighed."""
        row = self.database.query(
            "SELECT doubt, doubts FROM result WHERE result_id = ?", (result_id,)
        ).fetchone()
        if row is None or row["doubt"] is None:
            return None
        return [str(d.get("text", "")) for d in read_json(row["doubts"], list)]

    def not_weighed(self, limit: int) -> dict[str, Path]:
        """Return the folders of results that count and whose doubt is not known, by result, oldest first."""
        rows = self.database.query(
            f"SELECT r.result_id, r.folder FROM result r WHERE r.doubt IS NULL AND {_OPEN}"
            " ORDER BY r.created_at LIMIT ?",
            (limit,),
        )
        return {r["result_id"]: self.database.root / r["folder"] for r in rows}

    # --- moves ---

    def weigh(self, result_id: str, doubt: float, doubts: Sequence[Mapping[str, Any]]) -> None:
        """Record what speaks against a result."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE result SET doubt = ?, doubts = ? WHERE result_id = ?",
                (doubt, json.dumps([dict(d) for d in doubts]), result_id),
            )

    def confirm(
        self, result_id: str, by: str, organization: str, destinations: Sequence[str]
    ) -> Decision:
        """Record that a physician confirms a result, and one delivery of the verified report per destination.

        Raises:
            UnknownUid: there is no such result.
            ChangedMeanwhile: another physician decided before, or it counts no more.
        """
        with self.database.transaction() as tx:
            series_id, state = self._undecided(tx, result_id)
            made = Decision(CONFIRMED, by, tx.now(), "", organization)
            self._decide(tx, result_id, made)
            detail: dict[str, object] = {"by": by, "result": result_id}
            tx.event(series_id, REVIEW_CONFIRMED, state, detail)
            for name in destinations:
                self.deliveries.create(tx, series_id, result_id, name, VERIFIED)
            return made

    def reject(self, result_id: str, by: str, reason: str) -> int:
        """Record that a physician rejects a result, and take it back everywhere; returns from how many destinations.

        What is on its way is not sent any more, and the next result of the series gets UIDs of its own. Raises as `confirm`.
        """
        with self.database.transaction() as tx:
            series_id, state = self._undecided(tx, result_id)
            self._decide(tx, result_id, Decision(REJECTED, by, tx.now(), reason))
            detail: dict[str, object] = {"by": by, "result": result_id, "reason": reason}
            tx.event(series_id, REVIEW_REJECTED, state, detail)
            tx.execute(
                "UPDATE result SET superseded_because = ? WHERE result_id = ?",
                (WITHDRAWN, result_id),
            )
            tx.execute("UPDATE series SET forced = forced + 1 WHERE id = ?", (series_id,))
            held = tx.execute(f"{HELD}AND r.result_id = ?", (result_id,)).fetchall()
            insert_withdrawals(tx, held)
            return len(held)

    # --- parts ---

    def _undecided(self, tx: Transaction, result_id: str) -> tuple[int, str]:
        """Return series and its state of a result that waits for a decision. Raises as `confirm`."""
        row = tx.execute(
            f"SELECT r.series_id, s.state, {_COLUMNS}, {_OPEN} AS counts FROM result r"
            " JOIN series s ON s.id = r.series_id WHERE r.result_id = ?",
            (result_id,),
        ).fetchone()
        if row is None:
            raise UnknownUid(f"no result {result_id}")
        made = _decision(row)
        if made.verdict:
            raise ChangedMeanwhile(
                f"{made.by} {made.verdict} this result at {at_text(made.at)}; nothing was changed"
            )
        if not row["counts"]:
            raise ChangedMeanwhile(
                "the result was replaced, taken back or removed; look at the series again, then decide"
            )
        return row["series_id"], row["state"]

    def _decide(self, tx: Transaction, result_id: str, made: Decision) -> None:
        tx.execute(
            "UPDATE result SET review = ?, reviewed_by = ?, reviewed_at = ?, review_reason = ?, organization = ?"
            " WHERE result_id = ?",
            (made.verdict, made.by, made.at, made.reason, made.organization, result_id),
        )


_COLUMNS: Final = "r.review, r.reviewed_by, r.reviewed_at, r.review_reason, r.organization"
_DECISION: Final = f"SELECT {_COLUMNS} FROM result r WHERE r.result_id = ?"


def _decision(row: sqlite3.Row) -> Decision:
    return Decision(
        row["review"], row["reviewed_by"], row["reviewed_at"] or 0.0,
        row["review_reason"], row["organization"],
    )  # fmt: skip
