"""`doctor --repair`: what can be mended safely, in an order in which each part finds the one before it in order.

Only what was never acknowledged is deleted (`.part`). Everything else that cannot stay is moved to `aside/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.journal.journal import Journal
from node.repair.objects import ObjectRepair
from node.repair.results import BY, ResultRepair
from node.retention.purge import Purger, purging
from node.store.layout import StateDirectory
from node.store.lock import locked
from node.store.spool import Spool
from node.work.claims import return_claim

_FOR_OTHERS: Final = 0o007


@dataclass(frozen=True, slots=True)
class Mended:
    """One item. kind: as a finding of `doctor`. subject: path, series or destination. is_left: it was not mended."""

    kind: str
    subject: str
    what: str
    is_left: bool = False

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.kind}: {self.subject}: {'left: ' if self.is_left else ''}{self.what}"


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair of one state folder. now: seconds since 1970. stamp: name of the folder below `aside/`."""

    state: Path
    now: Callable[[], float]
    stamp: str
    quick: bool = False
    tell: Callable[[Mended], None] = lambda _: None
    done: list[Mended] = field(default_factory=list)

    def run(self) -> list[Mended]:
        """Mend what can be mended; returns every item, which `tell` got as soon as it was done.

        Raises:
            AlreadyRunning: the node runs. JournalDamaged: rebuild it instead. StateRefused: there is no journal.
        """
        # Before the lock, which makes the folder: a wrong path is not to be filled.
        Journal.reading(StateDirectory(self.state).journal, self.now).close()
        was_open = self.state.stat().st_mode & _FOR_OTHERS
        with locked(self.state):
            spool = Spool(self.state)
            journal = Journal.writing(StateDirectory(self.state).journal, self.now)
            try:
                journal.database.check_pages()
                for item in self._items(spool, journal, was_open=bool(was_open)):
                    self.done.append(item)
                    self.tell(item)
            finally:
                journal.close()
        return self.done

    def _items(self, spool: Spool, journal: Journal, *, was_open: bool) -> Iterator[Mended]:
        if (
            was_open and not self.state.stat().st_mode & _FOR_OTHERS
        ):  # whoever takes the lock does it
            yield Mended("permissions", str(self.state), "closed to other users")
        aside = StateDirectory(self.state).aside / self.stamp
        objects = ObjectRepair(spool, journal, aside, quick=self.quick)
        results = ResultRepair(spool.directory.results, journal, aside, quick=self.quick)
        yield from self._left_overs()
        yield from self._purges(journal)
        yield from (Mended(*item) for item in objects.run())
        yield from (Mended(*item) for item in results.run())
        yield from self._rows(journal)

    def _left_overs(self) -> Iterator[Mended]:
        """Remove what was never finished: its sender or its worker has no answer that names it."""
        directory = StateDirectory(self.state)
        unfinished = [
            *directory.spool.rglob("*.part"),
            *directory.quarantine.rglob("*.part"),
            *directory.results.glob(".*.part"),
            *self.state.glob(".*.part"),
            *self.state.glob(f"{directory.new_journal.name}*"),
        ]
        for path in sorted(unfinished):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            yield Mended("left-over", str(path), "removed: it was never acknowledged")

    def _purges(self, journal: Journal) -> Iterator[Mended]:
        left = journal.purges.unfinished()
        if not left:
            return
        with purging(self.state):
            Purger(journal).finish()
        for leaving in left:
            yield Mended("purge-unfinished", leaving.key.series, "the purge was finished")

    @staticmethod
    def _rows(journal: Journal) -> Iterator[Mended]:
        for row in journal.series.claims():
            if return_claim(journal, row, BY):
                yield Mended("claim", row.key.series, "returned: the next worker takes it")
        for key, before, now in journal.repairs.recount():
            yield Mended("count", key.series, f"{before} objects were counted, {now} are stored: corrected")  # fmt: skip
        for wait in journal.repairs.end_waits():
            yield Mended("fault", f"{wait.step} {wait.subject}", f"the next start tries it again ({wait.fault})")  # fmt: skip
