"""What changes while trainings run, in a form that two looks can be compared by: jobs, promotions, sizes of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.console.console import Console
from node.journal.states import JobState
from node.models.curves import CURVE
from node.models.retraining import JobDirectory
from node.models.run_files import folders_of
from node.models.run_folders import FIGURES

Seen = tuple[Any, ...]


def training_seen(console: Console) -> Seen:
    """Return numbers of the newest event of a job and the newest promotion, and what the files of runs look like.

    Raises:
        JournalError: the journal cannot be read now.
    """
    journal, state = console.journal, console.config.node.state
    running = journal.jobs.in_states(JobState.RUNNING)
    places = [JobDirectory.of(state, row.id) for row in running]
    files = [f for p in places for f in (p.out / "run" / CURVE, p.log)]
    place = console.config.training.runs
    for folder in folders_of(Path(place))[:200] if place else ():
        files.append(folder / CURVE)
        for inner in folders_of(folder)[:30]:
            files += [inner / CURVE, inner / FIGURES]
    newest = journal.changes.newest()["promotion"]
    return (journal.jobs.newest_event(), newest, *map(_look, files))


def _look(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)
