"""`doctor --rebuild`: a new journal from spool, quarantine and results, for one that is damaged."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.durable import move, move_durably
from node.events import SpoolSwept
from node.journal.journal import Journal
from node.receive.recover import adopt
from node.store.layout import StateDirectory
from node.store.lock import locked
from node.store.spool import Spool

ENDINGS: Final = ("-wal", "-shm", "")
"""Files of one journal: the write-ahead log belongs to its file, whatever that is called."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where the former journal lies now (None: there was none), what the files gave, what it still gave."""

    former: Path | None
    swept: SpoolSwept
    taken: dict[str, int]


def rebuild(state: Path, now: Callable[[], float]) -> Rebuilt:
    """Make the journal of a stopped node new. now: seconds since 1970.

    The new one takes its place only when it is complete, and the former is kept beside it: a kill in between
    leaves the former one. Series are received again in the journal's eyes: the next start judges them,
    finds their results and sends them again, with the same UIDs, to where the former journal does not say
    that they have arrived.

    Raises:
        AlreadyRunning: the node runs. StateRefused: the folder cannot be used.
    """
    with locked(state):
        path, new = StateDirectory(state).journal, StateDirectory(state).new_journal
        _remove(new)
        journal = Journal.open(new, now)
        try:
            swept = adopt(Spool(state), journal)
            taken = journal.restore.take_over(path) if path.exists() else {}
        finally:
            journal.close()
        _belong(new, path if path.exists() else state)
        former = _move_aside(path, now())
        move_durably(new, path)
        return Rebuilt(former, swept, taken)


def _belong(new: Path, former: Path) -> None:
    """Give a new journal the owner, group and mode that the node knows, also when root repairs it."""
    status = former.stat()
    new.chmod(stat.S_IMODE(status.st_mode) & 0o660)
    if os.geteuid() == 0:
        os.chown(new, status.st_uid, status.st_gid)


def _remove(path: Path) -> None:
    """Remove what a rebuild that was killed had begun."""
    for ending in ENDINGS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _move_aside(path: Path, now: float) -> Path | None:
    at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
    former = path.with_name(f"{path.name}.damaged-{at}")
    for ending in ENDINGS:
        place = path.with_name(path.name + ending)
        if place.exists():
            move(place, former.with_name(former.name + ending))
    return former if former.exists() else None


def rebuilt_lines(rebuilt: Rebuilt) -> list[str]:
    """Return what was done as lines for people."""
    swept, taken = rebuilt.swept, rebuilt.taken
    lines = [f"former journal kept as {rebuilt.former}"] if rebuilt.former else []
    lines.append(
        f"new journal: {swept.adopted} objects of the spool, {swept.set_aside} in quarantine,"
        f" {swept.results} results"
    )
    if swept.left:
        lines.append(
            f"{swept.left} files could not be read or moved; `lumbar-node doctor` names them"
        )
    if rebuilt.former:
        lines.append(
            f"from the former one: {taken['delivery']} deliveries, {taken['job']} jobs,"
            f" {taken['promotion']} changes of the bundle, {taken['purged']} purged series, reasons of {taken['quarantined']} quarantined objects"
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
