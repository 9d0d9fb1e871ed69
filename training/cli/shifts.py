"""`lumbar-train shifts`: what outlines are shifted by before they are measured, for a bundle's card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.evaluate.outline_bias import Found

_HELP = """Find by how much the outlines of artery, vein and psoas are shifted before they are measured.

A network's outlines may be right for its labels and still make every diameter a little too large. The shifts at which
the median errors of DAA, DIVC, OC and PI are zero on cases that the model never saw are written to
[bold]OUT[/bold], for `lumbar-train export --card`. Labels do not change. Uncertainties do: `evaluate --card` the
exported bundle and export once more. Without --case the cases that the bundle's card names as held out are taken.

[bold]Examples[/bold]

  lumbar-train shifts --cases unseen --all --bundle bundle --out shifts.json

  lumbar-train export --run bundle --level bundle/level.safetensors --card shifts.json --out new --version 0.3.1

[bold]Exit status[/bold]: 0 done, 2 no shift balances the errors, 4 too few cases, 6 the bundle does not load.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(shifts)


def shifts(
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="JSON file for `export --card`.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; without it, the shipped one.")
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Case id; repeat. Without it, the card's held-out ones."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every case; you vouch that none was trained on.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Write the shifts that balance the median errors."""
    from model.bundle.load import default_path, load
    from training.cli.progress import progress
    from training.evaluate import outline_bias as outline_shifts
    from training.evaluate.case_results import write_json
    from training.evaluate.evaluate import chosen

    model = load(bundle or default_path(), threads=threads)
    paths = chosen(cases, model, tuple(case or ()), every=every)
    bar, said, advance = progress(2 * len(paths), "shifts")

    def report(case_id: str) -> None:
        said(case_id)
        advance()

    with bar:
        found = outline_shifts.find(paths, model, report)
    _show(found)
    write_json(out, {"outline_shifts": dict(found.shifts)})


def _show(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    from training.evaluate.outline_bias import LADDER

    table = Table(title="Median error in mm by shift", title_justify="left")
    for head in ("", *(f"{shift:+.1f}" for shift in LADDER)):
        table.add_column(head, justify="right" if head else "left")
    for name, medians in found.medians_mm.items():
        table.add_row(name, *(f"{m:+.2f}" for m in medians))
    console = Console()
    console.print(table)
    console.print("outline_shifts: " + ", ".join(f"{k} {v:+.2f}" for k, v in found.shifts.items()))
