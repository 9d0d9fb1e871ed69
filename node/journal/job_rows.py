"""Frozen rows of retraining jobs, their events, and changes of the bundle in service."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from node.journal.states import JobState

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a retraining is asked to do; kept in the journal as it was at the time of asking.

    cases: digest of each prepared case by its id, as found in `data`. bundle, recipe: empty is the
    bundle in service when the job starts, and the default recipe. margin: in Dice.
    """

    data: str
    held_out: str
    recipe: str = ""
    bundle: str = ""
    margin: float = 0.01
    max_hours: float = 12.0
    cases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobRow:
    """One retraining in the journal.

    pid, started: the running process and when the machine says that it began, which rules out pid reuse.
    outcome: what the comparison answered.
    """

    id: int
    state: JobState
    reason: str
    asked_by: str
    plan: JobPlan
    outcome: dict[str, Any]
    pid: int | None
    started: str
    starts: int
    created_at: float
    state_at: float

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of the table `job`."""
        rest = set(cls.__slots__) - {"state", "plan", "outcome"}
        return cls(
            state=JobState(row["state"]),
            plan=JobPlan(**json.loads(row["plan"])),
            outcome=json.loads(row["outcome"]),
            **{name: row[name] for name in rest},
        )


@dataclass(frozen=True, slots=True)
class JobEventRow:
    """One event of a job, or of the schedule when `job_id` is None."""

    id: int
    at: float
    job_id: int | None
    event: str
    state: str
    detail: dict[str, Any]

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of the table `job_event`."""
        rest = set(cls.__slots__) - {"detail"}
        return cls(detail=json.loads(row["detail"]), **{name: row[name] for name in rest})


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of the bundle in service, never altered; `folder` None is the configured bundle.

    replaced: digest of the bundle in service until then. before_id: the row a rollback returns to, None
    the configured bundle.
    """

    id: int
    at: float
    event: str
    folder: Path | None
    name: str
    version: str
    digest: str
    replaced: str
    before_id: int | None
    job_id: int | None
    asked_by: str
    reason: str

    @classmethod
    def from_row(cls, row: sqlite3.Row, root: Path) -> Self:
        """Read a row of the table `promotion`; root: folder of relative paths."""
        rest = set(cls.__slots__) - {"folder"}
        folder = root / row["folder"] if row["folder"] else None
        return cls(folder=folder, **{name: row[name] for name in rest})
