"""Tables on a narrow screen and in a pipe."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from node.cli.tables import Table

UID = "1.2.826.0.1.3680043.8.498." + "7" * 38
TABLE = Table(
    ("state", "since", "objects", "series", "reason"),
    [("quarantined", "2026-11-29T21:46:26+00:00", "64", UID, "one of [66] characters")],
    folding=2,
    coloured="state",
)


def _on_terminal(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), highlight=False)
    console.print(table.rich())
    return console.file.getvalue().splitlines()


def test_a_long_uid_folds_and_no_word_of_the_others_is_cut() -> None:
    lines = _on_terminal(TABLE, 80)
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:3] == list(TABLE.rows[0][:3])
    start, end = lines[0].index("series"), lines[0].index("reason")
    assert "".join(line[start:end].strip() for line in lines[1:]) == UID
    reason = " ".join(line[end:].strip() for line in lines[1:]).split()
    assert "".join(reason) == "oneof[66]characters"


def test_a_pipe_gets_one_aligned_line_per_row() -> None:
    heads, row = TABLE.lines()
    assert row == f"quarantined  2026-11-29T21:46:26+00:00  64       {UID}  one of [66] characters"
    assert heads.index("series") == row.index(UID)
    assert heads.endswith("reason")


def test_states_have_colours_on_a_terminal_alone() -> None:
    console = Console(width=200, file=StringIO(), force_terminal=True, color_system="standard")
    console.print(TABLE.rich())
    assert "\x1b[33mquarantined" in console.file.getvalue()
    assert "\x1b" not in "".join(TABLE.lines())
