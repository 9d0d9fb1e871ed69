"""What several commands show alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def tables(rows: Sequence[Any], scores: Sequence[Any], unseen: frozenset[str]) -> tuple[Any, Any]:
    """Dice per structure, and level errors per case, for people."""
    from rich.table import Table

    dice = Table("cases", "structure", "n", "Dice, mean", "median", "least")
    for r in rows:
        figures = (f"{v:.3f}" for v in (r.mean, r.median, r.least))
        dice.add_row(r.source, r.structure, str(r.cases), *figures)
    level = Table("case", "held out", "level error, mm", "confidence", "s")
    for s in scores:
        error = "not found" if s.level_error_mm is None else f"{s.level_error_mm:.1f}"
        known = "yes" if s.case_id in unseen else "no"
        level.add_row(s.case_id, known, error, f"{s.level_confidence:.2f}", f"{s.seconds:.1f}")
    return dice, level
