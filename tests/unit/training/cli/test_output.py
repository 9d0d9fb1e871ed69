"""Progress of long work where the output is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from training.cli.output import LINE_EVERY_S, new_table, print_table, throttled


def test_a_log_gets_a_line_per_minute_and_a_terminal_none() -> None:
    moments = iter([0.0, 0.0, LINE_EVERY_S - 1, LINE_EVERY_S, LINE_EVERY_S])
    log = io.StringIO()
    line = throttled(Console(file=log), lambda: next(moments))
    for text in ("one", "two", "three"):
        line(text)
    assert log.getvalue().splitlines() == ["one", "three"]
    screen = io.StringIO()
    throttled(Console(file=screen, force_terminal=True))("one")
    assert not screen.getvalue()


def test_a_table_fits_eighty_columns_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    head = ("", "n", "Dice", "median", "SD", "least", "precision", "recall", "> 0.85", "> 0.90", "mean shape", "thresh.")  # fmt: skip
    table = new_table(head, "Dice, phantom", "a note that is longer than the table is wide " * 3)
    row = ("dural sac", "50", *["0.951"] * 4, "0.977", "0.972", "100 %", "100 %", "0.500", "0.250")
    table.add_row(*row)
    table.add_row("a-reason-that-is-longer-than-its-column", *row[1:])
    screen = io.StringIO()
    Console(file=screen, width=80).print(table)
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    text = "".join(lines).replace(" ", "")
    assert "…" not in text
    assert text.count("0.951") == 8
    start = next(n for n, line in enumerate(lines) if line.startswith("a-"))
    label = "".join(line.split(" ")[0] for line in lines[start:])
    assert label.startswith("a-reason-that-is-longer-than-its-column")
    print_table(table)
    assert any(line.startswith("a-reason-that-is-longer-than-its-column ") for line in capsys.readouterr().out.splitlines())  # fmt: skip
