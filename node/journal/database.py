"""One SQLite file in WAL mode with `synchronous=FULL`: what was committed survives a power cut.

One connection per thread; several processes may use the file at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from node.durable import private_folder
from node.errors import JournalDamaged, StateRefused
from node.journal import file as journal_file
from node.journal.migrate import check_version, migrate

S = TypeVar("S", bound=StrEnum)
J = TypeVar("J", list[Any], dict[str, Any])


def state_of(states: type[S], text: str) -> S:
    """Return the state that a row names. Raises `JournalDamaged` where there is none of this name."""
    try:
        return states(text)
    except ValueError:
        raise JournalDamaged(
            f"the journal is damaged (a row in the unknown state {text!r});"
            " stop the node and run `lumbar-node doctor --rebuild`"
        ) from None


def decoded(text: str, kind: type[J]) -> J:
    """Return a list or object of a JSON column, empty where it holds anything else.

    What such columns hold can be found out again; the row is worth more than they.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        return kind()
    return found if isinstance(found, kind) else kind()


class Database:
    """Connections, transactions, paths and events of the journal.

    Paths below the journal's own folder are kept relative to it, so that the folder may be moved.
    """

    def __init__(
        self, path: Path, now: Callable[[], float], connect: Callable[[Path], sqlite3.Connection]
    ) -> None:
        self._path, self._now, self._connect = path, now, connect
        self._local = threading.local()

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open, create or migrate: for the service alone, which holds the lock of the state folder.

        now: seconds since 1970. Raises `JournalTooNew`, `JournalDamaged`, `StateRefused`.
        """
        journal = cls(path, now, journal_file.for_service)
        with _opening(journal, path):
            private_folder(path.parent)
            migrate(journal._connection, path)
            journal.check_pages()
        return journal

    @classmethod
    def writing(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for a command or a worker; creates and migrates nothing.

        Raises `JournalOutdated`, `JournalTooNew`, `JournalDamaged`, `StateRefused`.
        """
        return cls._existing(path, now, journal_file.for_writing)

    @classmethod
    def reading(cls, path: Path, now: Callable[[], float]) -> Self:
        """Open the journal of this version for questions; changes nothing. Raises as `writing`."""
        return cls._existing(path, now, journal_file.for_reading)

    @classmethod
    def _existing(
        cls, path: Path, now: Callable[[], float], connect: Callable[[Path], sqlite3.Connection]
    ) -> Self:
        journal = cls(path, now, connect)
        with _opening(journal, path):
            if not path.exists():
                raise StateRefused(
                    f"{path}: no journal; start `lumbar-node serve`, or give the configuration with --config"
                )
            check_version(journal._connection, path)
        return journal

    def check_pages(self) -> None:
        """Look at every page once, so that damage is known before it matters. Raises `JournalDamaged`."""
        try:
            found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise journal_file.refusal(self._path, error) from error
        if found != "ok":
            raise journal_file.damaged(self._path, found)

    def _kept(self, path: Path) -> str:
        root = self._path.parent
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _place(self, kept: str) -> Path:
        return self._path.parent / kept

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect(self._path)
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


@contextmanager
def _opening(journal: Database, path: Path) -> Iterator[None]:
    """Close a journal that is refused, and say in one line what SQLite and the disk said of it."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        journal.close()
        raise journal_file.refusal(path, error) from error
    except StateRefused:
        journal.close()
        raise
