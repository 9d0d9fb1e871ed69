"""Remove what is marked: first the rows say so, then the files go, then the rows say that they are gone.

One process purges at a time, the service or a command. What a killed one left marked, the next one removes first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.durable import PART, hand_over, move_durably, sync_folder
from node.errors import BeingPurged
from node.journal.journal import Journal
from node.journal.purge_rows import Leaving, Purgeable, Quarantined
from node.store.layout import StateDirectory


@dataclass(frozen=True, slots=True)
class Purger:
    """Purges series and quarantined objects. by: who asks, "" for the node itself."""

    journal: Journal
    by: str = ""

    def series(self, seen: Purgeable, reason: str) -> None:
        """Purge one series with its results. Raises `IllegalTransition` when it has changed, and OSError."""
        self._remove(self.journal.purges.begin(seen, reason, self.by))

    def quarantined(self, objects: Sequence[Quarantined], reason: str) -> None:
        """Purge quarantined objects. Raises OSError."""
        for leaving in self.journal.purges.begin_quarantined(objects, reason, self.by):
            self._remove(leaving)

    def finish(self) -> int:
        """Remove what a killed purge left marked; returns of how many series."""
        left = self.journal.purges.unfinished()
        for leaving in left:
            self._remove(leaving)
        return len(left)

    def _remove(self, leaving: Leaving) -> None:
        remove_files(leaving.files)
        verified = StateDirectory(self.journal.database.root).verified
        for folder in leaving.folders:
            remove_folder(folder)
            remove_folder(verified / folder.name)
        self.journal.purges.end(leaving.series_id)


def remove_files(files: Sequence[Path]) -> None:
    """Remove files, and return when the disk knows it. A file that is not there is no error."""
    for file in files:
        file.unlink(missing_ok=True)
    for folder in {file.parent for file in files}:
        if folder.is_dir():
            sync_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove the folder of a result: its name first, so that half of one is never seen under it."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}{PART}")
    if folder.is_dir():
        move_durably(folder, part)
    shutil.rmtree(part, ignore_errors=True)


@contextmanager
def purging(state: Path) -> Iterator[None]:
    """Be the only process that purges. Raises `BeingPurged` while another one does."""
    lock = StateDirectory(state).purge_lock
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        hand_over(lock)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BeingPurged(
                f"another purge is running on {state}; ask again when it is done"
            ) from error
        yield
    finally:
        os.close(handle)
