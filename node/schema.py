"""Numbered migrations of the journal, applied at open, each in one transaction."""

from __future__ import annotations

import sqlite3
from importlib import resources

from node.errors import JournalTooNew


def migrations() -> list[tuple[int, str]]:
    """All migrations by number."""
    files = resources.files("node").joinpath("migrations")
    found = [
        (int(f.name[:4]), f.read_text(encoding="utf-8"))
        for f in files.iterdir()
        if f.name.endswith(".sql")
    ]
    return sorted(found)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version.

    Raises:
        JournalTooNew: the database is ahead of this program.
    """
    steps = migrations()
    newest = steps[-1][0]
    version = _version(connection)
    if version > newest:
        raise JournalTooNew(
            f"journal version {version}, this program knows {newest}; install the newer version or restore a backup"
        )
    for number, script in steps:
        if number > version:
            _apply(connection, number, script)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    """Apply one migration, unless another process did so while this one waited for the lock."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) < number:
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
    found, begun = [], ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            found.append(begun)
            begun = ""
    return found
