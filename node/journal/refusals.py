"""Who was refused, and whose objects were: counts by what a peer calls itself, with the last reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from node.journal.database import Database

Kind = Literal["association", "object"]
MOST_ROWS: Final = 500
"""Rows that are kept: any peer may call itself what it likes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusals of one kind of one peer. calling_ae: "" where the connection ended before its request was read.

    first_at, last_at: in seconds since 1970. reason: of the last one.
    """

    calling_ae: str
    address: str
    kind: Kind
    number: int
    first_at: float
    last_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class RefusalTable:
    """Refusals by peer."""

    database: Database

    def add(self, found: Sequence[Refusal]) -> None:
        """Count further refusals; of too many peers those that were quiet for longest are forgotten."""
        with self.database.transaction() as tx:
            for one in found:
                tx.execute(
                    "INSERT INTO refusal (calling_ae, address, kind, number, first_at, last_at, reason)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (calling_ae, address, kind) DO UPDATE SET"
                    " number = number + excluded.number, last_at = excluded.last_at, reason = excluded.reason",
                    (one.calling_ae, one.address, one.kind, one.number, one.first_at, one.last_at, one.reason),
                )  # fmt: skip
            tx.execute(
                "DELETE FROM refusal WHERE (calling_ae, address, kind) IN (SELECT calling_ae, address, kind"
                " FROM refusal ORDER BY last_at DESC, calling_ae, address, kind LIMIT -1 OFFSET ?)",
                (MOST_ROWS,),
            )

    def newest(self, limit: int) -> list[Refusal]:
        """Return refusals, the latest first."""
        rows = self.database.query(
            "SELECT calling_ae, address, kind, number, first_at, last_at, reason FROM refusal"
            " ORDER BY last_at DESC, calling_ae, address, kind LIMIT ?",
            (limit,),
        )
        return [Refusal(**dict(r)) for r in rows]

    def latest(self) -> float:
        """Return when the last one was, in seconds since 1970; 0 before the first."""
        row = self.database.query("SELECT coalesce(max(last_at), 0) AS at FROM refusal").fetchone()
        return float(row["at"])
