"""What several commands show alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def progress(total: int, title: str) -> tuple[Any, Callable[[str], None], Callable[[], None]]:
    """A progress bar, a call that says what is going on, and one that moves it on."""
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
    return bar, lambda step: bar.update(task, step=step), lambda: bar.advance(task)
