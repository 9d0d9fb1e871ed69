"""Journal rows of several associations in one go: who waits for the disk takes the others along."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from node.durable import sync_folder
from node.journal.instances import Added
from node.journal.journal import Journal
from node.journal.rows import NewInstance


@dataclass(slots=True, eq=False)
class _Waiting:
    """An object whose bytes and name are durable; outcome: None while its row is not."""

    new: NewInstance
    outcome: Added | Exception | None = None


class GroupCommit:
    """Makes names durable, each association its own and side by side, and then records their objects.

    An association that comes while another one waits for the journal queues; the next one to have its turn commits
    all that are queued by then, in one transaction. There is no thread beside them: a single sender waits for nothing.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn, self._queueing = threading.Lock(), threading.Lock()
        self._queue: list[_Waiting] = []

    def add(self, new: NewInstance) -> Added:
        """Return, as `InstanceTable.add`, when name and row survive a power cut. Raises as that, and OSError."""
        sync_folder(new.path.parent)
        waiting = _Waiting(new)
        with self._queueing:
            self._queue.append(waiting)
        with self._turn:
            if waiting.outcome is None:
                with self._queueing:
                    group, self._queue = self._queue, []
                self._commit(group)
        outcome = waiting.outcome
        if outcome is None:
            raise AssertionError("a group was left without an outcome")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Give every object of a group its outcome; what one raises is not the others' affair."""
        try:
            self._commit_together(group)
        except Exception as error:  # noqa: BLE001 - each association hears of its own
            if len(group) == 1:
                group[0].outcome = error
                return
            for waiting in group:
                self._commit([waiting])

    def _commit_together(self, group: Sequence[_Waiting]) -> None:
        added = self._journal.instances.add_all([w.new for w in group])
        for waiting, outcome in zip(group, added, strict=True):
            waiting.outcome = outcome
