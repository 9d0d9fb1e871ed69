"""`lumbar-train crossval --engine dask`: the folds on workers, the progress of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from training.cli.output import show_status, throttled

if TYPE_CHECKING:
    from cluster.certificates import Files
    from training.cli.crossval import Run


def spread_folds(run: Run, scheduler: str, files: Files | None, silent_s: float) -> None:
    """Train and test the folds on workers and print the state of each.

    silent_s: time without progress after which a fold is given up on its worker.

    Raises:
        WorkersAway: no worker can train a fold, or the scheduler is gone.
        UsageError: a certificate cannot be used.
    """
    from rich.console import Console

    from model.bundle.card import default_path
    from training.evaluate.crossval_level import first_level
    from training.spread.client import DaskWorkers
    from training.spread.folders import job_of, keep
    from training.spread.home import Home
    from training.spread.kind import FoldKind

    todo = run.to_do()
    if not todo:
        return
    with show_status("level finder of the cases in no fold") as report:
        first_level(run.cohort, run.out, run.plan, report)
    workers = DaskWorkers(scheduler, files, FoldKind.of(run.cohort.cases, default_path()))
    try:
        with Console().status("folds") as status:
            board = Board(status.update, lambda: throttled(status.console))
            home = Home(
                workers,
                lambda n, name: job_of(
                    n, name, run.folds[n - 1], run.cohort, run.out, run.timed(), silent_s
                ),
                silent_s,
                board.show,
            )
            for number, made in home.train(todo):
                keep(number, made, run.out)
                board.remove(number)
                run.ended(number, made.tested)
    finally:
        workers.close()


class Board:
    """The newest line of each fold: all in one status on a terminal, else a line now and then.

    update: shows the status. new_line: makes what prints a fold's lines where there is no terminal.
    """

    def __init__(
        self, update: Callable[[str], None], new_line: Callable[[], Callable[[str], None]]
    ) -> None:
        self._update, self._new_line = update, new_line
        self._texts: dict[int, str] = {}
        self._lines: dict[int, Callable[[str], None]] = {}

    def show(self, number: int, worker: str, text: str) -> None:
        """Take a fold's progress; lines about a worker (number 0) or a lost fold stay on the screen."""
        if number == 0:
            typer.echo(text)
            return
        said = f"fold {number} on {worker}: {text}"
        if text.endswith("begins again"):
            typer.echo(said)
        self._texts[number] = said
        self._update("; ".join(self._texts[n] for n in sorted(self._texts)))
        self._lines.setdefault(number, self._new_line())(said)

    def remove(self, number: int) -> None:
        """Forget a fold that ended."""
        self._texts.pop(number, None)
