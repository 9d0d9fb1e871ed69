"""The journal's pulls: studies that are fetched from a source, and the rules that ask for them every day.

Every change is a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from node.journal.columns import read_state
from node.journal.database import Database
from node.journal.instances import DAMAGED
from node.journal.states import InstanceState

if TYPE_CHECKING:
    import sqlite3

PULL_REQUESTED: Final = "pull_requested"
"""An event without a series: a person asked for a study."""
_MOST_UIDS: Final = 500
"""UIDs of one query."""


class PullState(StrEnum):
    """waiting: to be tried. done: everything is here. nothing: there was nothing to fetch. failed: given up."""

    WAITING = "waiting"
    DONE = "done"
    NOTHING = "nothing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PullRow:
    """One study of one source; see migration `pulls` for the columns."""

    id: int
    source: str
    study: str
    rule: str
    asked_by: str
    state: PullState
    asked_at: float
    state_at: float
    found: int
    here: int
    pulled: int
    series_left: int
    tries: int
    waited_s: float
    try_at: float
    reason: str

    @property
    def missing(self) -> int:
        """Number of objects that the source has and the node still wants."""
        return max(0, self.found - self.here - self.pulled)

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of `pull`."""
        rest = set(cls.__slots__) - {"state"}
        return cls(state=read_state(PullState, row["state"]), **{name: row[name] for name in rest})


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule. day: local day of its last complete run. studies: asked for by that run. tries: of the run that is due."""

    name: str
    day: str
    studies: int
    tries: int
    try_at: float
    set_at: float
    reason: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of `pull_rule`."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class PullTable:
    """Pulls and their rules."""

    database: Database

    # --- pulls ---

    def ask(self, source: str, study: str, *, by: str = "", rule: str = "") -> PullRow:
        """Ask for a study; one that waits is tried now, and one that ended begins again. by: the person who asks."""
        with self.database.transaction() as tx:
            now = tx.now()
            values = {"source": source, "study": study, "by": by, "rule": rule, "now": now}
            tx.execute(
                "INSERT INTO pull (source, study, rule, asked_by, state, asked_at, state_at)"
                " VALUES (:source, :study, :rule, :by, 'waiting', :now, :now)"
                " ON CONFLICT (source, study) DO UPDATE SET rule = :rule, asked_by = :by, asked_at = :now,"
                " try_at = 0, waited_s = 0, tries = 0, reason = '', found = 0, here = 0, pulled = 0, series_left = 0,"
                " state = 'waiting', state_at = :now",
                values,
            )
            if by:
                detail: dict[str, object] = {"by": by, "source": source, "study": study}
                tx.event(None, PULL_REQUESTED, PullState.WAITING, detail)
            row = tx.execute(
                "SELECT * FROM pull WHERE source = :source AND study = :study", values
            ).fetchone()
        return PullRow.from_row(row)

    def find(self, source: str, study: str) -> PullRow | None:
        """Return the pull of a study from a source."""
        rows = self._rows("WHERE source = ? AND study = ?", source, study)
        return rows[0] if rows else None

    def of_study(self, study: str) -> list[PullRow]:
        """Return the pulls of a study, in the order of their sources' first use."""
        return self._rows("WHERE study = ? ORDER BY id", study)

    def in_states(self, *states: PullState) -> list[PullRow]:
        """Return the pulls in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return self._rows(f"WHERE state IN ({marks}) ORDER BY id", *states)

    def due(self, now: float) -> PullRow | None:
        """Return the pull that is to be tried now, those of people first; a clock that was set back delays none."""
        rows = self._rows(
            "WHERE state = 'waiting' AND (try_at <= ? OR set_at > ?)"
            " ORDER BY rule <> '', try_at, id LIMIT 1",
            now,
            now,
        )
        return rows[0] if rows else None

    def progress(self, pull: PullRow, found: int, here: int, pulled: int, series_left: int) -> None:
        """Record what is known by now, unless the study was asked for again meanwhile."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE pull SET found = ?, here = ?, pulled = ?, series_left = ? WHERE id = ? AND asked_at = ?",
                (found, here, pulled, series_left, pull.id, pull.asked_at),
            )

    def defer(self, pull: PullRow, reason: str, wait_s: float) -> None:
        """Record why a try did not bring everything, and when the next one is."""
        with self.database.transaction() as tx:
            now = tx.now()
            tx.execute(
                "UPDATE pull SET tries = tries + 1, waited_s = waited_s + ?, reason = ?, try_at = ?, set_at = ?"
                " WHERE id = ? AND asked_at = ? AND state = 'waiting'",
                (wait_s, reason, now + wait_s, now, pull.id, pull.asked_at),
            )

    def end(self, pull: PullRow, state: PullState, reason: str) -> None:
        """End a pull, unless the study was asked for again meanwhile."""
        with self.database.transaction() as tx:
            tx.execute(
                "UPDATE pull SET tries = tries + 1, state = ?, reason = ?, state_at = ?"
                " WHERE id = ? AND asked_at = ? AND state = 'waiting'",
                (state, reason, tx.now(), pull.id, pull.asked_at),
            )

    def known(self, sop_instances: Collection[str], *, purged: bool = False) -> set[str]:
        """Return which of these SOP Instance UIDs came before, whatever became of them; a damaged file may come again.

        purged: also those whose files were removed.
        """
        states = ("",) if purged else (InstanceState.PURGING, InstanceState.PURGED)
        uids, found = list(sop_instances), set[str]()
        for first in range(0, len(uids), _MOST_UIDS):
            part = uids[first : first + _MOST_UIDS]
            marks = ", ".join("?" * len(part))
            rows = self.database.query(
                f"SELECT sop_instance FROM instance WHERE sop_instance IN ({marks})"
                f" AND digest NOT LIKE ? AND state NOT IN ({', '.join('?' * len(states))})",
                [*part, f"%{DAMAGED}", *states],
            )
            found |= {row["sop_instance"] for row in rows}
        return found

    def _rows(self, condition: str, *values: object) -> list[PullRow]:
        rows = self.database.query(f"SELECT * FROM pull {condition}", values)
        return [PullRow.from_row(row) for row in rows]

    # --- rules ---

    def rules(self) -> dict[str, RuleRow]:
        """Return every rule that was ever configured, by its name."""
        rows = self.database.query("SELECT * FROM pull_rule ORDER BY name")
        return {row["name"]: RuleRow.from_row(row) for row in rows}

    def rule_ran(self, name: str, day: str, studies: int) -> None:
        """Record a complete run, or that a new rule has its first one on the next day; day: YYYY-MM-DD, local."""
        with self.database.transaction() as tx:
            tx.execute(
                "INSERT INTO pull_rule (name, day, studies) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " day = excluded.day, studies = excluded.studies, tries = 0, try_at = 0, reason = ''",
                (name, day, studies),
            )

    def rule_deferred(self, name: str, reason: str, wait_s: float) -> None:
        """Record why a run did not end, and when it is tried again."""
        with self.database.transaction() as tx:
            now = tx.now()
            tx.execute(
                "UPDATE pull_rule SET tries = tries + 1, reason = ?, try_at = ?, set_at = ? WHERE name = ?",
                (reason, now + wait_s, now, name),
            )
