"""Tables on a narrow screen."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from node.cli.tables import UID_COLUMN, table


def test_a_long_uid_folds_and_no_word_of_the_others_is_cut() -> None:
    uid = "1.2.826.0.1.3680043.8.498." + "7" * 38
    row = ("quarantined", "2026-11-29T21:46:26+00:00", "64", uid, "one of 66 characters")
    console = Console(width=80, file=StringIO())
    console.print(table(("state", "since", "objects", UID_COLUMN, "reason"), [row]))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    first = lines[1].split()
    assert first[:3] == list(row[:3])
    start = lines[0].index(UID_COLUMN)
    column = "".join(line[start : lines[0].index("reason")].strip() for line in lines[1:])
    assert column == uid
