"""Keeps a claim alive while its series is processed."""

from __future__ import annotations

import threading
from types import TracebackType

from node.journal.file import JournalBusy
from node.journal.journal import Journal
from node.journal.rows import SeriesKey


class Heartbeat:
    """Records in the journal, from a thread, that a claim is alive, until the block is left."""

    def __init__(self, journal: Journal, key: SeriesKey, token: str, every_s: float) -> None:
        self._journal, self._key, self._token, self._every_s = journal, key, token, every_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._left.wait(self._every_s):
                if not self._alive():
                    return
        finally:
            self._journal.close()

    def _alive(self) -> bool:
        try:
            return self._journal.series.heartbeat(self._key, self._token)
        except JournalBusy:
            return True  # another program holds the journal; the next beat may come through
