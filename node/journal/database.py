"""One SQLite file in WAL mode with `synchronous=FULL`: what was committed survives a power cut.

One connection per thread; several processes may use the file at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from node.durable import private_folder
from node.errors import StateRefused
from node.journal import file as journal_file
from node.journal.migrate import check_version, migrate

Values = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transaction:
    """One write transaction, shared by the tables that take part: all of it is committed, or nothing.

    now: seconds since 1970.
    """

    connection: sqlite3.Connection
    now: Callable[[], float]

    def execute(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(sql, values)

    def event(
        self,
        series_id: int | None,
        event: str,
        state: str,
        detail: Mapping[str, object],
        delivery_id: int | None = None,
    ) -> None:
        """Add one event to the history of a series, or of one of its deliveries."""
        self.execute(
            "INSERT INTO event (at, series_id, delivery_id, event, state, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (self.now(), series_id, delivery_id, event, state, json.dumps(detail, default=str)),
        )


class Database:
    """Connections, transactions and paths of the journal.

    Paths below the journal's own folder are kept relative to it, so that the folder may be moved.
    """

    def __init__(
        self, path: Path, now: Callable[[], float], connect: Callable[[Path], sqlite3.Connection]
    ) -> None:
        self.path, self.now, self._connect = path, now, connect
        self._local = threading.local()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open, create or migrate: for the service alone, which holds the lock of the state folder.

        now: seconds since 1970. Raises `JournalTooNew`, `JournalDamaged`, `StateRefused`.
        """
        database = cls(path, now, journal_file.for_service)
        with database._opening():
            private_folder(path.parent)
            journal_file.share_as_folder(path)
            migrate(database.connection, path)
            database.check_pages()
        return database

    @classmethod
    def writing(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for a command or a worker; creates and migrates nothing.

        Raises `JournalOutdated`, `JournalTooNew`, `JournalDamaged`, `StateRefused`.
        """
        return cls._existing(path, now, journal_file.for_writing)

    @classmethod
    def reading(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for queries; changes nothing. Raises as `writing`."""
        return cls._existing(path, now, journal_file.for_reading)

    @classmethod
    def _existing(
        cls, path: Path, now: Callable[[], float], connect: Callable[[Path], sqlite3.Connection]
    ) -> Self:
        database = cls(path, now, connect)
        with database._opening():
            if not path.exists():
                raise StateRefused(
                    f"{path}: no journal; start `lumbar-node serve`, or give the configuration with --config"
                )
            check_version(database.connection, path)
        return database

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Close the journal when it is refused, with one line that names the cause by SQLite or the disk."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise journal_file.refusal(self.path, error) from error
        except StateRefused:
            self.close()
            raise

    def check_pages(self) -> None:
        """Read every page once, so that damage is known before it matters. Raises `JournalDamaged`."""
        try:
            answer = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise journal_file.refusal(self.path, error) from error
        if answer != "ok":
            raise journal_file.damaged(self.path, answer)

    @property
    def root(self) -> Path:
        """Folder that relative paths in rows start from."""
        return self.path.parent

    def relative(self, path: Path) -> str:
        """Return the path as a row keeps it."""
        return str(path).removeprefix(f"{self.root}/")

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, opened when it is first used."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect(self.path)
            self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def query(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Run one query outside a transaction."""
        return self.connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin to write, and commit; roll back when the block raises."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Transaction(connection, self.now)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:  # a full disk has ended it already
                connection.execute("ROLLBACK")
