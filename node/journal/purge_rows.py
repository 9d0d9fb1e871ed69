"""Frozen rows of what may leave the disk and of what is leaving it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node.journal.rows import SeriesKey
from node.journal.states import SeriesState


@dataclass(frozen=True, slots=True)
class Purgeable:
    """A series in a state that no step acts on, with all that decides whether its files may go.

    objects, bytes: of its files in spool and quarantine. folders: of its results. state_at, last_at: when its state
    changed and its last object came. proven_at: when the last destination of the newest result was verified, None
    unless each was. undelivered: destinations that do not have the newest result. unproven: those that have it
    without a proof. withdrawals: destinations at which a former result is still to be taken back. Times in seconds
    since 1970.
    """

    id: int
    key: SeriesKey
    state: SeriesState
    reason: str
    fault: str
    state_at: float
    last_at: float
    objects: int
    bytes: int
    folders: tuple[Path, ...]
    proven_at: float | None
    undelivered: tuple[str, ...]
    unproven: tuple[str, ...]
    withdrawals: tuple[str, ...]
    on_its_way: bool


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A quarantined object. key: of its series. received_at: in seconds since 1970."""

    rowid: int
    key: SeriesKey
    series_id: int
    path: Path
    bytes: int
    received_at: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is marked and not yet removed of one series: files, and folders of results."""

    series_id: int
    key: SeriesKey
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
