"""Events while something changes: one look at the journal for all readers, one bounded queue for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from node.journal.file import JournalError
from node.journal.journal import Journal

LOOK_S: Final = 0.25
TRAINING_LOOKS: Final = 8
"""Looks at the journal for one at the files of trainings: two seconds."""
MOST_AT_ONCE: Final = 200
"""Events of the journal that one look reads; the next reads on."""
MOST_READERS: Final = 64
MOST_WAITING: Final = 32
"""Messages that wait for a slow reader; then its stream ends, and its browser comes again."""

Message = dict[str, str]


class TooManyReaders(Exception):
    """Every stream is in use."""


@dataclass(eq=False, slots=True)
class Reader:
    """One browser's stream. None in the queue ends it."""

    waiting: asyncio.Queue[Message | None] = field(
        default_factory=lambda: asyncio.Queue(MOST_WAITING + 1)
    )


@dataclass(eq=False, slots=True)
class Live:
    """Looks at the journal and tells every reader which series changed; one event loop.

    executor: one thread, which has the connection that notices writes of others. training: what is compared to see
    that a training progressed. tests: a number that changes with every answer of a destination that is tested.
    """

    journal: Journal
    executor: Executor
    training: Callable[[], object] = lambda: None
    tests: Callable[[], int] = lambda: 0
    readers: set[Reader] = field(default_factory=set)
    _version: int = -1
    _last: int = -1
    _refused_at: float = 0.0
    _training: object = None
    _looks: int = 0
    _tested: int = 0

    async def run(self) -> None:
        """Look until cancelled; a journal that cannot be read now is looked at again."""
        loop = asyncio.get_running_loop()
        while True:
            # Also while no page is open: who comes in the morning is not sent the night's events.
            try:
                message = await loop.run_in_executor(self.executor, self.look)
            except JournalError:
                message = None
            if message is not None:
                self.send(message)
            self._looks += 1
            if self.readers and self._looks % TRAINING_LOOKS == 0:
                await self._look_at_training()
            await asyncio.sleep(LOOK_S)

    async def _look_at_training(self) -> None:
        """Tell every reader where a training progressed since the last look; without an id, since nothing is missed."""
        loop = asyncio.get_running_loop()
        try:
            seen = await loop.run_in_executor(self.executor, self.training)
        except (JournalError, OSError):
            return
        if self._training not in {None, seen}:
            self.send({"event": "training", "data": "{}"})
        self._training = seen

    def look(self) -> Message | None:
        """Return a message about what happened since the last look, None for nothing."""
        version, tested = self.journal.paging.version(), self.tests()
        if tested != self._tested:
            self._tested = tested
            return _message(max(0, self._last), [])
        if version == self._version:
            return None
        if self._last < 0:
            self._last, self._version = self.journal.changes.newest()["event"], version
            return None
        found = self.journal.changes.since(self._last + 1, MOST_AT_ONCE)
        if len(found) < MOST_AT_ONCE:
            self._version = version  # else there is more to read
        if not found:
            return self._refused()
        self._last = found[-1].id
        return _message(self._last, sorted({c.series_id for c in found if c.series_id}))

    def _refused(self) -> Message | None:
        """Return a message for pages about all where a peer was refused, which is no event of a series."""
        latest = self.journal.refusals.latest()
        if latest == self._refused_at:
            return None
        self._refused_at = latest
        return _message(self._last, [])

    def since(self, last: int) -> Message | None:
        """Return a message about what a reader missed who comes again, None for nothing. last: its last event."""
        found = self.journal.changes.since(last + 1, MOST_AT_ONCE)
        return _message(found[-1].id, sorted({c.series_id for c in found})) if found else None

    def send(self, message: Message) -> None:
        """Give a message to every reader; one that does not read is ended."""
        for reader in list(self.readers):
            if reader.waiting.qsize() < MOST_WAITING:
                reader.waiting.put_nowait(message)
            else:
                reader.waiting.put_nowait(None)
                self.readers.discard(reader)

    def join(self) -> Reader:
        """Add a reader. Raises `TooManyReaders`."""
        if len(self.readers) >= MOST_READERS:
            raise TooManyReaders
        reader = Reader()
        self.readers.add(reader)
        return reader

    async def stream(
        self, reader: Reader, missed: Message | None, is_welcome: Callable[[], bool]
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield messages until the reader goes, is too slow, or its login has ended."""
        try:
            yield {"event": "ready", "data": "{}", "retry": 3000}
            if missed is not None:
                yield missed
            while (message := await reader.waiting.get()) is not None and is_welcome():
                yield message
        finally:
            self.readers.discard(reader)


def _message(last: int, series: list[int]) -> Message:
    return {"event": "changed", "id": str(last), "data": json.dumps({"series": series})}
