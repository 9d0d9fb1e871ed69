"""`lumbar-train report`: pictures and one HTML file from the results of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import CasesOption, out_folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    results: Annotated[Path, typer.Option(help="JSON file of an evaluation.")],
    cases: CasesOption,
    out: Annotated[Path, out_folder("Folder of the report.")],
    worst: Annotated[int, typer.Option(min=0, help="Cases shown as pictures, per group.")] = 3,
) -> None:
    """Make a report of an evaluation: tables, plots, pictures, HTML.

    RESULTS is what `evaluate --out` wrote, or OUT/crossval.json of `crossval`; the folder RESULTS.cases
    beside it holds the labels that the pictures show. No model runs.

    \b
    Examples:
      lumbar-train evaluate --cases cases --out results.json
      lumbar-train report --results results.json --cases cases --out report

    \b
    Exit status: 0 done, 2 matplotlib is not installed, 4 results or cases
    cannot be read.

    \b
    Files: OUT/report.html (opens without a network), *.png, tables.md,
    figures.json, figures.csv
    """
    from training.errors import NotInstalled

    try:
        from training.report import report as reporting
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is missing; install the `train` extra") from error
    typer.echo(str(reporting.make(results, cases, out, worst=worst)))
