"""Numbers for monitoring: what is in which state now, and what was added since the last look.

Nothing here writes. Every query is a count by index, or bounded; migration 0007 holds the indexes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.journal.database import Database

MOST_MOVES: Final = 5000
"""Changes that one look reads; the next look reads on."""
_LONGEST_HEAD: Final = 60
"""Characters of a reason that are compared."""


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """Objects of one calling AE title in one state. last_at: of the newest, in seconds since 1970."""

    sender: str
    state: str
    objects: int
    bytes: int
    last_at: float


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """Deliveries to one destination in one state. state: also superseded and unproven."""

    destination: str
    kind: str
    state: str
    number: int


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a series or delivery.

    destination: "" for a change of the series itself. since: when the stage began that this change
    ended, in seconds since 1970, None if it is not known.
    """

    id: int
    at: float
    event: str
    destination: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The last verdict of the rules about one series. at: seconds since 1970; reason: why it was skipped."""

    sender: str
    station: str
    at: float
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of one journal."""

    database: Database

    # --- now ---

    def series(self) -> list[tuple[str, str, int]]:
        """Return (state, beginning of the reason up to its colon, number of series)."""
        rows = self.database.query(
            f"SELECT state, substr(reason, 1, coalesce(nullif(instr(reason, ':'), 0) - 1, {_LONGEST_HEAD})) AS head,"
            " count(*) AS number FROM series GROUP BY 1, 2"
        )
        return [(r["state"], r["head"], r["number"]) for r in rows]

    def failure_codes(self) -> dict[str, int]:
        """Return the number of failed series by the code of their failure, "" if it has none."""
        rows = self.database.query(
            "SELECT coalesce((SELECT json_extract(e.detail, '$.code') FROM event e WHERE e.series_id = s.id"
            " AND e.delivery_id IS NULL AND e.state = 'failed' ORDER BY e.id DESC LIMIT 1), '') AS code,"
            " count(*) AS number FROM series s WHERE s.state = 'failed' GROUP BY 1"
        )
        return {str(r["code"]): r["number"] for r in rows}

    def queues(self) -> dict[str, tuple[int, float]]:
        """Return number and oldest change of state of the series that a step has still to act on, by state."""
        rows = self.database.query(
            "SELECT state, count(*) AS number, min(state_at) AS oldest FROM series"
            " WHERE state IN ('receiving', 'complete', 'selected', 'processing') GROUP BY state"
        )
        return {r["state"]: (r["number"], r["oldest"]) for r in rows}

    def deferred(self) -> dict[str, int]:
        """Return the number of series that wait after a fault, by step."""
        rows = self.database.query(
            "SELECT fault_step, count(*) AS number FROM series WHERE fault <> '' GROUP BY fault_step"
        )
        return {r["fault_step"]: r["number"] for r in rows}

    def senders(self) -> list[SenderFigures]:
        """Return what each calling AE title sent, by state; the most recent sender first."""
        rows = self.database.query(
            "SELECT calling_ae, state, count(*) AS objects, sum(bytes) AS bytes, max(received_at) AS last_at"
            " FROM instance GROUP BY calling_ae, state ORDER BY last_at DESC"
        )
        return [
            SenderFigures(r["calling_ae"], r["state"], r["objects"], r["bytes"], r["last_at"])
            for r in rows
        ]

    def pulls(self) -> dict[tuple[str, str], int]:
        """Return the number of studies that were asked for, by source and state."""
        rows = self.database.query(
            "SELECT source, state, count(*) AS number FROM pull GROUP BY source, state"
        )
        return {(r["source"], r["state"]): r["number"] for r in rows}

    def corrections(self) -> dict[tuple[str, str], int]:
        """Return the number of segmentations of viewers that were judged, by state and code of the reason."""
        rows = self.database.query(
            "SELECT state, code, count(*) AS number FROM correction GROUP BY state, code"
        )
        return {(r["state"], r["code"]): r["number"] for r in rows}

    def deliveries(self) -> list[DeliveryFigures]:
        """Return the number of deliveries by destination, kind and state."""
        rows = self.database.query(
            "SELECT destination, kind, CASE WHEN state = 'dead' AND detail = 'superseded' THEN detail"
            " WHEN proof = 'unproven' THEN proof ELSE state END AS shown, count(*) AS number"
            " FROM delivery GROUP BY destination, kind, shown"
        )
        return [DeliveryFigures(r["destination"], r["kind"], r["shown"], r["number"]) for r in rows]

    def oldest_open(self) -> dict[str, float]:
        """Return when the oldest result was made that a destination still has to get, in seconds since 1970."""
        rows = self.database.query(
            "SELECT d.destination, min(r.created_at) AS oldest FROM delivery d JOIN result r USING (result_id)"
            " WHERE d.state IN ('pending', 'waiting', 'sent') GROUP BY d.destination"
        )
        return {r["destination"]: r["oldest"] for r in rows}

    def last_proofs(self) -> dict[str, float]:
        """Return when storage was last verified, by destination, in seconds since 1970."""
        rows = self.database.query(
            "SELECT destination, max(state_at) AS at FROM delivery"
            " WHERE state = 'confirmed' AND proof <> 'unproven' GROUP BY destination"
        )
        return {r["destination"]: r["at"] for r in rows}

    def judged_since(self, since: float) -> list[Judged]:
        """Return the last verdict about every series that was judged since then, oldest first."""
        rows = self.database.query(
            "SELECT max(e.id) AS id, e.at, e.event, coalesce(json_extract(e.detail, '$.station'), '') AS station,"
            " coalesce(json_extract(e.detail, '$.reason'), '') AS reason, coalesce((SELECT i.calling_ae"
            " FROM instance i WHERE i.series_id = e.series_id LIMIT 1), '') AS sender"
            " FROM event e WHERE e.event IN ('rules_accept', 'rules_reject') AND e.at >= ?"
            " GROUP BY e.series_id ORDER BY id",
            (since,),
        )
        return [
            Judged(r["sender"], r["station"], r["at"], r["event"] == "rules_accept", r["reason"])
            for r in rows
        ]

    def received_since(self, since: float) -> dict[str, int]:
        """Return the number of objects that were kept since then, by calling AE title."""
        rows = self.database.query(
            "SELECT calling_ae, count(*) AS number FROM instance WHERE received_at >= ? GROUP BY calling_ae",
            (since,),
        )
        return {r["calling_ae"]: r["number"] for r in rows}

    def quarantined_since(self, since: float) -> int:
        """Return the number of objects that came since then and are quarantined."""
        row = self.database.query(
            "SELECT count(*) FROM instance WHERE state = 'quarantined' AND received_at >= ?",
            (since,),
        ).fetchone()
        return int(row[0])

    def events_since(self, since: float) -> dict[str, int]:
        """Return the number of changes since then, by event."""
        rows = self.database.query(
            "SELECT event, count(*) AS number FROM event WHERE at >= ? GROUP BY event", (since,)
        )
        return {r["event"]: r["number"] for r in rows}

    # --- since the last look ---

    def last_move(self) -> int:
        """Return the number of the newest change, 0 before the first."""
        return int(self.database.query("SELECT coalesce(max(id), 0) FROM event").fetchone()[0])

    def last_object(self) -> int:
        """Return the number of the newest object, 0 before the first."""
        return int(
            self.database.query("SELECT coalesce(max(rowid), 0) FROM instance").fetchone()[0]
        )

    def objects_after(self, last: int, upto: int) -> list[SenderFigures]:
        """Return the objects with numbers above `last`, up to `upto`, as `senders` does."""
        rows = self.database.query(
            "SELECT calling_ae, state, count(*) AS objects, sum(bytes) AS bytes, max(received_at) AS last_at"
            " FROM instance WHERE rowid > ? AND rowid <= ? GROUP BY calling_ae, state",
            (last, upto),
        )
        return [
            SenderFigures(r["calling_ae"], r["state"], r["objects"], r["bytes"], r["last_at"])
            for r in rows
        ]

    def moves_after(self, last: int) -> Iterator[Move]:
        """Return the changes with numbers above `last`, oldest first, at most `MOST_MOVES`."""
        rows = self.database.query(
            "SELECT e.id, e.at, e.event, coalesce(d.destination, '') AS destination,"
            " CASE WHEN e.event IN ('geometry_complete', 'settled_ineligible', 'went_quiet') THEN s.last_at"
            " WHEN e.delivery_id IS NOT NULL THEN r.created_at"
            " ELSE (SELECT max(p.at) FROM event p WHERE p.series_id = e.series_id AND p.id ="
            " (SELECT max(q.id) FROM event q WHERE q.series_id = e.series_id AND q.id < e.id"
            " AND q.event NOT IN ('followup_made', 'followup_outdated') AND q.delivery_id IS NULL)) END AS since"
            " FROM event e LEFT JOIN series s ON s.id = e.series_id LEFT JOIN delivery d ON d.id = e.delivery_id"
            " LEFT JOIN result r ON r.result_id = d.result_id WHERE e.id > ? ORDER BY e.id LIMIT ?",
            (last, MOST_MOVES),
        )
        for r in rows:
            yield Move(r["id"], r["at"], r["event"], r["destination"], r["since"])
