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
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > steps[-1][0]:
        raise JournalTooNew(
            f"journal version {version}, this program knows {steps[-1][0]}; install the newer version or restore a backup"
        )
    for number, script in steps:
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
