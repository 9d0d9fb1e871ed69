"""`lumbar-train report`: pictures and one HTML file from the figures of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELP = """Make a report of an evaluation: box plots, Bland–Altman and scatter plots, the worst cases as
pictures and surfaces, and one HTML file that opens without a network.

[bold]FIGURES[/bold] is what `evaluate --out` wrote, or OUT/figures.json of `crossval`; the folder
FIGURES.cases beside it holds the labels that the pictures show. No model runs.

[bold]Examples[/bold]

  lumbar-train evaluate --cases cases --out figures.json

  lumbar-train report --figures figures.json --cases cases --out report

[bold]Exit status[/bold]: 0 done, 2 matplotlib is not installed, 4 figures or cases cannot be read.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(report)


def report(
    figures: Annotated[Path, typer.Option(help="JSON file of an evaluation.")],
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    worst: Annotated[int, typer.Option(min=0, help="Cases shown as pictures, per group.")] = 3,
) -> None:
    """Write PNGs, report.html, tables.md, figures.json and figures.csv."""
    from training.errors import NotInstalled

    try:
        from training.report import report as reporting
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is missing; install the `train` extra") from error
    typer.echo(str(reporting.make(figures, cases, out, worst=worst)))
