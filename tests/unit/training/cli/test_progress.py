"""Progress of long work where the output is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from training.cli.progress import LINE_EVERY_S, now_and_then


def test_a_log_gets_a_line_now_and_then_and_a_terminal_none() -> None:
    moments = iter([0.0, 0.0, LINE_EVERY_S - 1, LINE_EVERY_S, LINE_EVERY_S])
    log = io.StringIO()
    line = now_and_then(Console(file=log), lambda: next(moments))
    for said in ("one", "two", "three"):
        line(said)
    assert log.getvalue().splitlines() == ["one", "three"]
    screen = io.StringIO()
    now_and_then(Console(file=screen, force_terminal=True))("one")
    assert not screen.getvalue()
