"""One SQLite file in WAL mode with `synchronous=FULL`: what was committed survives a power cut.

One connection per thread; several processes may use the file at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from node.errors import StateRefused
from node.schema import migrate

BUSY_TIMEOUT_S: Final = 30.0
_BUSY_PAUSE_S: Final = 0.01


class Database:
    """Connections, transactions, paths and events of the journal.

    Paths below the journal's own folder are kept relative to it, so that the folder may be moved.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path, self._now, self._local = path, now, threading.local()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open or create; `now` gives seconds since 1970. Raises `JournalTooNew`, `StateRefused`."""
        journal = cls(path, now)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            migrate(journal._connection)
        except (OSError, sqlite3.Error) as error:
            raise StateRefused(
                f"{path}: the journal cannot be opened ({error}); check permissions and disk, or restore a backup"
            ) from error
        return journal

    def _kept(self, path: Path) -> str:
        root = self._path.parent
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _place(self, kept: str) -> Path:
        return self._path.parent / kept

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.row_factory = sqlite3.Row
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:  # a full disk has ended it already
                connection.execute("ROLLBACK")

    def _event(
        self,
        db: sqlite3.Connection,
        series_id: int | None,
        event: str,
        state: str,
        detail: Mapping[str, object],
        delivery_id: int | None = None,
    ) -> None:
        db.execute(
            "INSERT INTO event (at, series_id, delivery_id, event, state, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (self._now(), series_id, delivery_id, event, state, json.dumps(detail, default=str)),
        )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode, waiting for another opener of a new file up to `BUSY_TIMEOUT_S`."""
    # The switch raises its own shared lock to an exclusive one, and there SQLite answers "busy" at once,
    # without the connection's timeout: both sides could otherwise wait for each other.
    last = time.monotonic() + BUSY_TIMEOUT_S
    while not _switched(connection, raising=time.monotonic() > last):
        time.sleep(_BUSY_PAUSE_S)


def _switched(connection: sqlite3.Connection, *, raising: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if raising or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True
