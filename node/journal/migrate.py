"""Numbered migrations of the journal, applied when the service opens it, all in one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from importlib import resources
from pathlib import Path

from node.durable import PART, move_durably
from node.errors import JournalOutdated, JournalTooNew


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Return all migrations by number."""
    files = resources.files("node.journal").joinpath("migrations")
    scripts = [
        (int(f.name[:4]), f.read_text(encoding="utf-8"))
        for f in files.iterdir()
        if f.name.endswith(".sql")
    ]
    return tuple(sorted(scripts))


def migrate(connection: sqlite3.Connection, path: Path | None = None) -> None:
    """Bring the database to the newest version, after a copy of it beside `path`, where one is given.

    Raises:
        JournalTooNew: the database is ahead of this program.
    """
    steps = migrations()
    version = _version(connection)
    _refuse_newer(version, steps[-1][0])
    if path is not None and 0 < version < steps[-1][0]:
        _back_up(connection, backup_path(path, version))
    if version < steps[-1][0]:
        _apply(connection, steps)


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `JournalTooNew` or `JournalOutdated` unless the database at `path` has this program's version."""
    version, newest = _version(connection), migrations()[-1][0]
    _refuse_newer(version, newest)
    if version < newest:
        raise JournalOutdated(
            f"{path}: journal version {version}, this program uses {newest};"
            " start `lumbar-node serve` of this version, which migrates it"
        )


def backup_path(path: Path, version: int) -> Path:
    """Return the place of the copy that is made before a journal of this version is migrated."""
    return path.with_name(f"{path.name}.v{version}-backup")


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.urandom(4).hex()}{PART}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(part)) as copy:
            connection.backup(copy)
        move_durably(part, target)
    finally:
        part.unlink(missing_ok=True)  # on a full disk


def _refuse_newer(version: int, newest: int) -> None:
    if version > newest:
        raise JournalTooNew(
            f"journal version {version}, this program knows {newest}; install the newer version or restore a backup"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: sqlite3.Connection, steps: Sequence[tuple[int, str]]) -> None:
    """Apply what is missing in one transaction, but for what another process did while this one waited."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        for number, script in steps:
            if number > version:
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def statements(script: str) -> list[str]:
    """Split a script at the semicolons that end a statement."""
    # Not executescript: it commits the open transaction first, and with it gives up the lock.
    complete, begun = [], ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            complete.append(begun)
            begun = ""
    return complete
