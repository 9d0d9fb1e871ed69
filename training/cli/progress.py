"""What several commands show alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

LINE_EVERY_S: Final = 60.0
"""A log file gets a line instead of the moving bar; not more often than this."""


def progress(total: int, title: str) -> tuple[Any, Callable[[str], None], Callable[[], None]]:
    """A progress bar, a call that says what is going on, and one that moves it on.

    Where the output is no terminal, what is said becomes a line now and then.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[step]}"),
    )
    task = bar.add_task(title, total=total, step="")
    line = now_and_then(bar.console)

    def said(step: str) -> None:
        bar.update(task, step=step)
        line(f"{title} {int(bar.tasks[0].completed)}/{total} {step}")

    return bar, said, lambda: bar.advance(task)


def now_and_then(
    console: Any, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """A call that writes a line where the console is no terminal, at most one in `LINE_EVERY_S`."""
    told_at = -math.inf

    def line(said: str) -> None:
        nonlocal told_at
        if not console.is_terminal and clock() - told_at >= LINE_EVERY_S:
            told_at = clock()
            console.print(said, soft_wrap=True)

    return line
