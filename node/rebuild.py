"""`doctor --rebuild`: a new journal from spool, quarantine and results, for one that is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.adopt import adopt
from node.events import SpoolSwept
from node.journal import Journal
from node.spool import Spool
from node.supervise import JOURNAL, locked


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where the former journal lies now (None: there was none), what the files gave, what it still gave."""

    former: Path | None
    swept: SpoolSwept
    taken: dict[str, int]


def rebuild(state: Path, now: Callable[[], float]) -> Rebuilt:
    """Move the journal of a stopped node aside and make a new one. now: seconds since 1970.

    The former file is kept: nothing here deletes. Series are received again in the journal's eyes: the
    next start judges them, finds their results and sends them again, with the same UIDs, to where the
    former journal does not say that they have arrived.

    Raises:
        AlreadyRunning: the node runs. StateRefused: the folder cannot be used.
    """
    with locked(state):
        former = _move_aside(state / JOURNAL, now())
        journal = Journal.open(state / JOURNAL, now)
        try:
            swept = adopt(Spool(state), journal)
            taken = {} if former is None else journal.take_over(former)
        finally:
            journal.close()
        return Rebuilt(former, swept, taken)


def _move_aside(path: Path, now: float) -> Path | None:
    at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
    former = path.with_name(f"{path.name}.damaged-{at}")
    # The write-ahead log belongs to its file, whatever that is called.
    for ending in ("-wal", "-shm", ""):
        place = path.with_name(path.name + ending)
        if place.exists():
            place.replace(former.with_name(former.name + ending))
    return former if former.exists() else None


def rebuilt_lines(told: Rebuilt) -> list[str]:
    """What was done, for people."""
    swept, taken = told.swept, told.taken
    lines = [f"former journal kept as {told.former}"] if told.former else []
    lines.append(
        f"new journal: {swept.adopted} objects of the spool, {swept.set_aside} in quarantine,"
        f" {swept.results} results"
    )
    if swept.left:
        lines.append(
            f"{swept.left} files could not be read or moved; `lumbar-node doctor` names them"
        )
    if told.former:
        lines.append(
            f"from the former one: {taken['delivery']} deliveries, {taken['job']} jobs,"
            f" {taken['promotion']} changes of the bundle, reasons of {taken['quarantined']} quarantined objects"
        )
        if not taken["promotion"]:
            lines.append(
                "the configured bundle is in service; if another one was, `lumbar-node models promote` it"
            )
    lines.append(
        "start `lumbar-node serve`: every series is judged again and finds its result; what is not known to"
        " have arrived is sent again, with the same UIDs"
    )
    return lines
