"""The journal's storage commitments: those that we asked of archives, and those that others asked of us.

Every change is a transaction of its own. A new transaction removes those that ended `KEPT_S` ago: what they proved is
in the delivery and its events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, Self

from node.journal.columns import read_json, read_state
from node.journal.database import Database, Transaction

if TYPE_CHECKING:
    import sqlite3

KEPT_S: Final = 30 * 86_400.0
"""Seconds for which a transaction that has ended is kept: a report that is repeated is recognised."""

Pair = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


class CommitmentState(StrEnum):
    """A transaction that we began. expired: no report in time; one that comes later counts all the same."""

    ASKED = "asked"
    EXPIRED = "expired"
    REPORTED = "reported"
    DONE = "done"


class RequestState(StrEnum):
    """A transaction that another began. checked: the answer is known. dropped: it could not be delivered."""

    ASKED = "asked"
    CHECKED = "checked"
    REPORTED = "reported"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """What we asked. objects: file by SOP Instance UID. failed: Failure Reason by SOP Instance UID."""

    transaction_uid: str
    delivery_id: int
    destination: str
    state: CommitmentState
    asked_at: float
    objects: Mapping[str, str]
    committed: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of `commitment` with the destination of its delivery."""
        return cls(
            row["transaction_uid"],
            row["delivery_id"],
            row["destination"],
            read_state(CommitmentState, row["state"]),
            row["asked_at"],
            read_json(row["objects"], dict),
            tuple(read_json(row["committed"], list)),
            read_json(row["failed"], dict),
        )


@dataclass(frozen=True, slots=True)
class RequestRow:
    """What was asked of us. waited_s: seconds between the tries to report."""

    id: int
    transaction_uid: str
    calling_ae: str
    address: str
    state: RequestState
    objects: tuple[Pair, ...]
    failed: Mapping[str, int]
    tries: int
    waited_s: float
    reason: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of `commitment_request`."""
        return cls(
            row["id"],
            row["transaction_uid"],
            row["calling_ae"],
            row["address"],
            read_state(RequestState, row["state"]),
            tuple((str(a), str(b)) for a, b in read_json(row["objects"], list)),
            read_json(row["failed"], dict),
            row["tries"],
            row["waited_s"],
            row["reason"],
        )


_AT_ONCE: Final = 256  # more than may be open, so that old ones never collect
_ASKED: Final = (
    "SELECT c.transaction_uid, c.delivery_id, d.destination, c.state, c.asked_at, c.objects, c.committed, c.failed"
    " FROM commitment c JOIN delivery d ON d.id = c.delivery_id "
)


@dataclass(frozen=True, slots=True)
class CommitmentTable:
    """Both kinds of transaction."""

    database: Database

    # --- asked by us ---

    def ask(self, transaction_uid: str, delivery_id: int, objects: Mapping[str, str]) -> None:
        """Record a request before it is sent, so that its report is known whenever it comes.

        objects: file by SOP Instance UID.
        """
        with self.database.transaction() as tx:
            _remove_ended(tx)
            tx.execute(
                "INSERT INTO commitment (transaction_uid, delivery_id, state, asked_at, objects) VALUES (?, ?, ?, ?, ?)",
                (transaction_uid, delivery_id, CommitmentState.ASKED, tx.now(), json.dumps(dict(objects))),
            )  # fmt: skip

    def find(self, transaction_uid: str) -> CommitmentRow | None:
        """Return a transaction of ours."""
        row = self.database.query(
            _ASKED + "WHERE c.transaction_uid = ?", (transaction_uid,)
        ).fetchone()
        return None if row is None else CommitmentRow.from_row(row)

    def of_delivery(self, delivery_id: int) -> list[CommitmentRow]:
        """Return the transactions of a delivery since it was last sent, oldest first."""
        rows = self.database.query(
            _ASKED + "WHERE c.delivery_id = ? AND c.state <> 'done' ORDER BY c.rowid",
            (delivery_id,),
        )
        return [CommitmentRow.from_row(r) for r in rows]

    def report(
        self, transaction_uid: str, committed: Sequence[str], failed: Mapping[str, int]
    ) -> bool:
        """Record a report, and let its delivery be judged at once; False when there was one before, or none is wanted."""
        with self.database.transaction() as tx:
            row = tx.execute(
                "UPDATE commitment SET state = ?, committed = ?, failed = ?"
                " WHERE transaction_uid = ? AND state IN ('asked', 'expired') RETURNING delivery_id",
                (
                    CommitmentState.REPORTED, json.dumps(list(committed)),
                    json.dumps(dict(failed)), transaction_uid,
                ),
            ).fetchone()  # fmt: skip
            if row is None:
                return False
            tx.execute(
                "UPDATE delivery SET try_at = 0 WHERE id = ? AND state = 'sent'",
                (row["delivery_id"],),
            )
            return True

    def close(self, transaction_uid: str, state: CommitmentState) -> None:
        """End a transaction: expired, or done."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE commitment SET state = ? WHERE transaction_uid = ?",
                (state, transaction_uid),
            )

    # --- asked of us ---

    def request(
        self,
        transaction_uid: str,
        calling_ae: str,
        address: str,
        objects: Sequence[Pair],
        *,
        report_s: float,
        most: int,
    ) -> Literal["added", "known", "full"]:
        """Record what a peer asked, to be checked and reported; the same again is reported again.

        report_s: seconds in which the association itself may take the report. most: open requests of this AE title.
        """
        with self.database.transaction() as tx:
            open_count = tx.execute(
                "SELECT count(*) FROM commitment_request WHERE calling_ae = ? AND transaction_uid <> ?"
                " AND state IN ('asked', 'checked')",
                (calling_ae, transaction_uid),
            ).fetchone()[0]
            if open_count >= most:
                return "full"
            now = tx.now()
            _remove_reported(tx)
            values = {
                "uid": transaction_uid,
                "ae": calling_ae,
                "address": address,
                "objects": json.dumps(list(objects)),
                "now": now,
                "at": now + report_s,
            }
            before = tx.execute(
                "DELETE FROM commitment_request WHERE transaction_uid = :uid AND calling_ae = :ae",
                values,
            ).rowcount
            tx.execute(
                "INSERT INTO commitment_request (transaction_uid, calling_ae, address, state, asked_at, objects, try_at, set_at)"
                " VALUES (:uid, :ae, :address, 'asked', :now, :objects, :at, :now)",
                values,
            )
            return "known" if before else "added"

    def requests(self, state: RequestState) -> list[RequestRow]:
        """Return the requests in a state, oldest first."""
        rows = self.database.query(
            "SELECT * FROM commitment_request WHERE state = ? ORDER BY id", (state,)
        )
        return [RequestRow.from_row(r) for r in rows]

    def find_request(self, transaction_uid: str, calling_ae: str) -> RequestRow | None:
        """Return the request of a peer."""
        row = self.database.query(
            "SELECT * FROM commitment_request WHERE transaction_uid = ? AND calling_ae = ?",
            (transaction_uid, calling_ae),
        ).fetchone()
        return None if row is None else RequestRow.from_row(row)

    def due_reports(self, now: float) -> list[RequestRow]:
        """Return checked requests whose report is to be sent now; a clock that was set back delays none."""
        rows = self.database.query(
            "SELECT * FROM commitment_request WHERE state = 'checked' AND (try_at <= ? OR set_at > ?) ORDER BY id",
            (now, now),
        )
        return [RequestRow.from_row(r) for r in rows]

    def checked(self, request_id: int, failed: Mapping[str, int]) -> None:
        """Record what is not held, by SOP Instance UID; everything else is."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE commitment_request SET state = 'checked', failed = ? WHERE id = ? AND state = 'asked'",
                (json.dumps(dict(failed)), request_id),
            )

    def reported(self, request_id: int) -> None:
        """Record that the peer took the report; what was asked is not needed any more."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE commitment_request SET state = 'reported', objects = '[]', reason = '' WHERE id = ?",
                (request_id,),
            )

    def report_now(self, transaction_uid: str, calling_ae: str) -> None:
        """Let the report go out over another association: that of the request is over."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE commitment_request SET try_at = 0 WHERE transaction_uid = ? AND calling_ae = ?"
                " AND state IN ('asked', 'checked')",
                (transaction_uid, calling_ae),
            )

    def defer_report(self, request_id: int, reason: str, wait_s: float) -> None:
        """Record that a report could not be delivered, and when it is tried again."""
        with self.database.transaction() as tx:
            now = tx.now()
            tx.execute(
                "UPDATE commitment_request SET tries = tries + 1, waited_s = waited_s + ?, reason = ?, try_at = ?, set_at = ?"
                " WHERE id = ?",
                (wait_s, reason, now + wait_s, now, request_id),
            )

    def drop(self, request_id: int, reason: str) -> None:
        """Give a report up: one sentence why."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE commitment_request SET state = 'dropped', objects = '[]', reason = ? WHERE id = ?",
                (reason, request_id),
            )


def _remove_ended(tx: Transaction) -> None:
    """Remove our old transactions that have ended; a delivery that waits for its proof keeps those that count."""
    tx.execute("DELETE FROM commitment WHERE state = 'done' AND asked_at < ?", (tx.now() - KEPT_S,))


def _remove_reported(tx: Transaction) -> None:
    """Remove old transactions of others that have ended, a few at a time: there may be very many."""
    tx.execute(
        "DELETE FROM commitment_request WHERE id IN (SELECT id FROM commitment_request ORDER BY id LIMIT ?)"
        " AND set_at < ? AND state IN ('reported', 'dropped')",
        (_AT_ONCE, tx.now() - KEPT_S),
    )
