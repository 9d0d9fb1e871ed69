"""What every command prints alike: progress and tables."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import typer

from dicomseg.errors import InputRefused

if TYPE_CHECKING:
    from rich.table import Table

    from training.data.persons import Persons

LINE_EVERY_S: Final = 60.0
"""Where no terminal shows a bar, a line replaces it; at most one in this time."""
_PIPE_WIDTH: Final = 400
"""Columns of a table that no terminal shows: a row stays a line."""


class ProgressBar:
    """A progress bar on a terminal; elsewhere, a line now and then."""

    def __init__(self, total: int, title: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[step]}"),
        )
        self._task = self._bar.add_task(title, total=total, step="")
        self._title, self._total = title, total
        self._line = throttled(self._bar.console)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, text: str, completed: int | None = None) -> None:
        """Show what is in progress and, if given, how many steps are complete."""
        self._bar.update(self._task, step=text, completed=completed)
        self._line(f"{self._title} {int(self._bar.tasks[0].completed)}/{self._total} {text}")

    def advance(self, text: str) -> None:
        """Show what is complete and count it."""
        self.show(text)
        self._bar.advance(self._task)

    def print_line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text)


def throttled(console: Any, clock: Callable[[], float] = time.monotonic) -> Callable[[str], None]:
    """Return a call that prints a line where the console is no terminal, at most one in `LINE_EVERY_S`."""
    printed_at = -math.inf

    def line(text: str) -> None:
        nonlocal printed_at
        if not console.is_terminal and clock() - printed_at >= LINE_EVERY_S:
            printed_at = clock()
            console.print(text, soft_wrap=True)

    return line


def new_table(head: Sequence[str], title: str = "", caption: str = "") -> Table:
    """Return an empty table, first column left, the others right; a cell that does not fit is folded."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title or None,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0),  # 80 columns hold twelve of numbers
        pad_edge=False,
        show_edge=False,
    )
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table, folded to the width of the terminal; elsewhere one line per row."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=_PIPE_WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def show_links(persons: Persons) -> None:
    """Name cases of one person under different ids, a line each."""
    for link in persons.links:
        typer.echo(link.text, err=True)


def show_links_below(cases: Path) -> None:
    """Name cases of one person under different ids below a folder; a card that cannot be read is named later."""
    from training.data.cases import list_cases
    from training.data.persons import read_persons

    with suppress(InputRefused):
        show_links(read_persons(list_cases(cases)))


@contextmanager
def show_status(name: str) -> Iterator[Callable[[str], None]]:
    """Show the progress of one run on the terminal, or as lines where there is none."""
    from rich.console import Console

    with Console().status(name) as status:
        line = throttled(status.console)

        def report(text: str) -> None:
            status.update(f"{name}: {text}")
            line(f"{name}: {text}")

        yield report
