"""Progress of long work where the output is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from training.cli.output import LINE_EVERY_S, throttled


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
