"""`lumbar-train`: synthetic studies, prepared cases, training. Parses, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from dicomseg.errors import LumbarError

app = typer.Typer(
    name="lumbar-train",
    help="Make synthetic lumbar studies, prepare training cases, train the model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


class FovChoice(StrEnum):
    """Fields of view."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    SLAB = "slab"


_PHANTOM_HELP = """Write synthetic MR studies with their truth: one folder per case.

[bold]D[/bold]/<case>/<series>/*.dcm, [bold]D[/bold]/<case>/truth.json (true measurements with end points in LPS mm,
disc plane, card) and labels.npz on the acquired grid. The same seed gives the same bytes.

[bold]Examples[/bold]

  lumbar-train phantom --out studies --cases 3 --seed 7

  lumbar-train phantom --out studies --cases 1 --distractors --oblique

  lumbar-train phantom --out quick --cases 2 --coded --slices 64 --matrix 160

[bold]Exit status[/bold]: 0 done, 2 options contradict each other.
"""

_PREPARE_HELP = """Turn phantoms and SPIDER volumes into prepared cases (.npz and .json) on the canonical grid.

Cases that exist are left as they are, so an interrupted run is continued by the same command.

[bold]Examples[/bold]

  lumbar-train prepare --out cases --phantoms 24 --seed 1000

  lumbar-train prepare --out cases --spider ../shared/data/spider

[bold]Exit status[/bold]: 0 done, 2 nothing asked for, 4 the folder holds no such volumes.
"""


def _progress(total: int, title: str) -> tuple[Any, Callable[[str], None], Callable[[], None]]:
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


@app.command(help=_PHANTOM_HELP)
def phantom(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, typer.Option(help="Folder to write the studies to.")],
    cases: Annotated[int, typer.Option(min=1, help="How many persons.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the next count up.")] = 1,
    fov: Annotated[
        FovChoice, typer.Option(help="axial: L4/5; sagittal: whole lumbar spine.")
    ] = FovChoice.AXIAL,
    coded: Annotated[
        bool, typer.Option("--coded", help="Voxels hold the answer, for tests.")
    ] = False,
    oblique: Annotated[
        bool, typer.Option("--oblique", help="Tilt the grid 12° and turn it 4°.")
    ] = False,
    slices: Annotated[int | None, typer.Option(min=4, help="Fewer slices.")] = None,
    matrix: Annotated[
        int | None, typer.Option(min=32, help="Rows and columns over the same field.")
    ] = None,
    distractors: Annotated[
        bool, typer.Option("--distractors", help="Add series that must not be chosen.")
    ] = False,
    drop_slice: Annotated[int | None, typer.Option(min=0, help="Leave out this slice.")] = None,
) -> None:
    """Write synthetic MR studies."""
    from training.studies import Options, write_study

    options = Options(
        cast("Any", fov.value), slices, matrix, oblique, coded, distractors, drop_slice
    )
    bar, said, advance = _progress(cases, "phantom")
    written = []
    with bar:
        for number in range(cases):
            written.append(write_study(out, seed + number, options, said))
            advance()
    for folder in written:
        typer.echo(str(folder))


@app.command(help=_PREPARE_HELP)
def prepare(
    out: Annotated[Path, typer.Option(help="Folder to write the cases to.")],
    phantoms: Annotated[int, typer.Option(min=0, help="How many phantoms.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first phantom.")] = 1000,
    spider: Annotated[Path | None, typer.Option(help="Folder of SPIDER volumes (NIfTI).")] = None,
    slices: Annotated[int | None, typer.Option(min=4, help="Fewer slices of phantoms.")] = None,
    matrix: Annotated[int | None, typer.Option(min=32, help="Smaller matrix of phantoms.")] = None,
) -> None:
    """Prepare training cases."""
    from training import prepare as preparing
    from training.errors import OptionsRefused

    if not phantoms and spider is None:
        raise OptionsRefused("nothing to prepare: give --phantoms N or --spider FOLDER")
    total = phantoms + (len(preparing.spider_subjects(spider)) if spider else 0)
    bar, said, advance = _progress(total, "prepare")

    def done(name: str) -> None:
        said(name)
        advance()

    with bar:
        if spider is not None:
            preparing.prepare_spider(spider, out, done)
        preparing.prepare_phantoms(seed, phantoms, out, done, slices=slices, matrix=matrix)
    typer.echo(f"{total} cases in {out}")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def fit(context: typer.Context) -> None:
    """Train a network on prepared cases (see `lumbar-train fit --help`)."""
    from importlib import import_module

    from training.errors import NothingTrained

    try:
        command = import_module("training.fit").fit_command
    except (ModuleNotFoundError, AttributeError) as error:
        raise NothingTrained(
            f"fit is not available here ({error}); install the train extra"
        ) from error
    nested = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    nested.command()(command)
    nested(args=context.args or ["--help"], prog_name="lumbar-train fit", standalone_mode=False)


def main() -> None:
    """Run the command line; refusals end with their one line and exit code."""
    try:
        app()
    except LumbarError as error:
        sys.stderr.write(f"lumbar-train: {error}\n")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
