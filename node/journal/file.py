"""The journal's file: how a connection is opened for the service, for a command that writes, for a query.

A query creates nothing beside the file, not even SQLite's own `-wal` and `-shm`: they would belong to
whoever asked, and the service could not open them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from node.errors import JournalDamaged, StateRefused

JournalError = sqlite3.Error
JournalBusy = sqlite3.OperationalError
"""What the database raises, for those who catch it: only this room knows the driver."""

BUSY_TIMEOUT_S: Final = 30.0
_BUSY_PAUSE_S: Final = 0.01
_LOOKS: Final = 5
"""How often a query looks again at a journal that a starting or ending service opens or closes meanwhile."""
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CLOSED_TO_US: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY: Final = 0xFF
"""Bits of an extended result code that are the primary one."""


def refusal(path: Path, error: OSError | sqlite3.Error) -> StateRefused:
    """Say in one line what is wrong with a journal and what to do."""
    if is_damage(error):
        return damaged(path, str(error))
    if isinstance(error, sqlite3.Error) and _code(error) in _BUSY:
        return StateRefused(
            f"{path}: another program holds the journal ({error}); end it, or ask again"
        )
    if isinstance(error, PermissionError):
        return StateRefused(
            f"{path}: the journal may not be read by this user; ask as the node's user or as a member of its group"
        )
    return StateRefused(
        f"{path}: the journal cannot be opened ({error}); check permissions and disk, or restore a backup"
    )


def damaged(path: Path, what: str) -> JournalDamaged:
    """Say that the file is broken, and the repair."""
    return JournalDamaged(
        f"{path}: the journal is damaged ({' '.join(what.split())});"
        " stop the node and run `lumbar-node doctor --rebuild`"
    )


def is_damage(error: BaseException) -> bool:
    """Return whether SQLite says that the file itself is broken."""
    return isinstance(error, sqlite3.Error) and _code(error) in _DAMAGE


def share_as_folder(path: Path) -> None:
    """Let the group read the journal where it may look into its folder, and no one write; make a new one so.

    The journal names UIDs, AE titles and states, no patient, so that a member of the group may ask `status`. SQLite
    gives `-wal` and `-shm` the mode of the journal, whatever the umask. Raises OSError where it cannot be made.
    """
    group_reads = stat.S_IMODE(path.parent.stat().st_mode) & stat.S_IRGRP
    mode = stat.S_IRUSR | stat.S_IWUSR | group_reads
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    for place in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        with suppress(FileNotFoundError, PermissionError):  # another one's file that we may use
            if stat.S_IMODE(place.stat().st_mode) != mode:
                place.chmod(mode)


def for_service(path: Path) -> sqlite3.Connection:
    """Open or create, for reading and writing."""
    return _writing(f"{_uri(path)}?mode=rwc")


def for_writing(path: Path) -> sqlite3.Connection:
    """Open what is there, for reading and writing."""
    return _writing(f"{_uri(path)}?mode=rw")


def for_reading(path: Path) -> sqlite3.Connection:
    """Open what is there, for reading; changes and creates nothing.

    While a process has the journal open, its `-shm` is there and is read with it. Else nothing writes,
    and a private copy is read.
    """
    for _ in range(_LOOKS):
        in_use = _beside(path, "-shm").exists()
        connection = _shared(path) if in_use else _copy(path)
        if connection is not None:
            return connection
    raise StateRefused(f"{path}: the journal is opened and closed all the time; ask again")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def _uri(path: Path) -> str:
    return path.absolute().as_uri()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _writing(uri: str) -> sqlite3.Connection:
    connection = _connect(uri)
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _shared(path: Path) -> sqlite3.Connection | None:
    """Read beside the process that has it open; None when it has just closed it."""
    try:
        connection = _connect(f"{_uri(path)}?mode=ro")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if not _beside(path, "-shm").exists():
            return None
        if _code(error) in _CLOSED_TO_US:
            raise StateRefused(
                f"{path}: the journal is in use and may not be read by this user;"
                " ask as the node's user, or as a member of the group of [node] state"
            ) from error
        raise
    return connection


def _copy(path: Path) -> sqlite3.Connection | None:
    """Read a private copy, which is gone with the connection; None when the journal was opened meanwhile."""
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as folder:
        copy = Path(folder) / path.name
        for ending in ("", "-wal"):
            place = _beside(path, ending)
            if not ending or place.exists():
                shutil.copyfile(place, _beside(copy, ending))
        if _beside(path, "-shm").exists():
            return None
        connection = _connect(f"{_uri(copy)}?mode=rw")
        # Opens every file of the copy: they stay readable when their names are removed.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA query_only = ON")
    return connection


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
