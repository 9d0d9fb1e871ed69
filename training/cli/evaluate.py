"""`lumbar-train evaluate`: scores, measurements and baselines of prepared cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from training.evaluate.case_results import CaseFigures, Task
    from training.report.tables import Table

_EVALUATE_HELP = """Run the service's path on prepared cases and compare its answer with their labels.

Per structure Dice, precision, recall, HD95 and surface distance; OC, DAA, DIVC and PI against the reference;
two baselines that need no network; the paper's figures beside. Without --case the cases that the bundle's
card names as held out are taken.

With --out, each finished case is kept in FIGURES.cases beside FIGURES.json, and the same command goes on
where it stopped; `lumbar-train report` makes pictures of both.

[bold]Examples[/bold]

  lumbar-train evaluate --cases cases --out figures.json --csv figures.csv

  lumbar-train evaluate --cases unseen --all --unseen --out figures.json --card card.json

  lumbar-train evaluate --cases cases --bundle bundle --case spider-005

[bold]Exit status[/bold]: 0 done, 4 no such cases, 6 the bundle does not load.
"""


WIDTH: Final = 132
"""Columns where the output is no terminal."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_EVALUATE_HELP)(evaluate)


def evaluate(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; without it, the shipped one.")
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Case id; repeat. Without it, the card's held-out ones."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every case, trained on or not; tables keep them apart.")
    ] = False,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="You vouch that none of the cases was trained on.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Also the two baselines.")] = True,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file, one line per case and value.")] = None,
    card: Annotated[
        Path | None, typer.Option(help="JSON file for `lumbar-train export --card`.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Compare the service's answer with the prepared cases' labels."""
    from model.bundle.load import default_path, load
    from training.data.cases import list_cases
    from training.evaluate import case_results as figures
    from training.evaluate import evaluate as evaluating
    from training.evaluate import summary
    from training.evaluate.baselines import Baselines
    from training.report.tables import cases_csv

    model = load(bundle or default_path(), threads=threads)
    paths = evaluating.chosen(cases, model, tuple(case or ()), every=every)
    known = evaluating.held_out(model)
    task = figures.Task(
        model=lambda _: model,
        unseen=lambda name: unseen or name in known,
        baselines=Baselines(list_cases(cases)) if baselines else None,
        folder=None if out is None else kept_in(out),
    )
    found = _with_progress(paths, task)
    show(found)
    notes = ["--unseen: the caller vouches that no case was trained on"] if unseen else []
    told = summary.figures_json(found, summary.about(model), notes)
    if out is not None:
        figures.write_json(out, told)
    if csv is not None:
        csv.write_text(cases_csv(found), encoding="utf-8", newline="")
    if card is not None:
        figures.write_json(card, summary.card_json(found))


def _with_progress(paths: list[Path], task: Task) -> list[CaseFigures]:
    from training.cli.progress import progress
    from training.evaluate import case_results as figures

    bar, said, advance = progress(len(paths), "evaluate")

    def report(done: CaseFigures) -> None:
        said(done.case_id)
        advance()

    with bar:
        return figures.evaluated(paths, task, report)


def kept_in(out: Path) -> Path:
    """Return the folder of finished cases beside a file of figures."""
    return out.with_suffix(".cases")


def show(found: list[CaseFigures]) -> None:
    """Print the tables."""
    from rich.console import Console

    from training.evaluate import summary
    from training.report import tables as report_tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for table in (*report_tables.tables(summary.groups(found)), report_tables.case_table(found)):
        console.print(_rich(table))


def _rich(table: Table) -> object:
    from rich.table import Table as RichTable

    shown = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")  # fmt: skip
    for n, name in enumerate(table.head):
        shown.add_column(name, justify="left" if n == 0 else "right", overflow="fold")
    for n, row in enumerate(table.rows):
        shown.add_row(*row, style="dim" if n in table.beside else None)
    return shown
