"""`lumbar-train`: synthetic studies, prepared cases, training. Parses, calls, prints."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from dicomseg.errors import LumbarError
from training.cli import check_real as commands_check
from training.cli import crossval as commands_crossval
from training.cli import evaluate as commands_evaluate
from training.cli import fit as commands_fit
from training.cli import importing as commands_import
from training.cli import level as commands_level
from training.cli import report as commands_report
from training.cli import retrain as commands_retrain
from training.cli import roots as commands_roots
from training.cli import shifts as commands_shifts
from training.cli.progress import progress

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

_PREPARE_HELP = """Turn phantoms, SPIDER volumes and painted CT label maps into prepared cases (.npz and .json).

Cases that exist are left as they are, so an interrupted run is continued by the same command.

[bold]Examples[/bold]

  lumbar-train prepare --out cases --phantoms 24 --lumbar 12 --seed 1000

  lumbar-train prepare --out cases --spider ../shared/data/spider

  lumbar-train prepare --out shapes --shapes ../shared/data/vessels_psoas --seed 1

[bold]Exit status[/bold]: 0 done, 2 nothing asked for, 4 the folder holds no such volumes.
"""


_EXPORT_HELP = """Write a bundle from a run's averaged weights and a level finder, and load it once.

[bold]Examples[/bold]

  lumbar-train export --run run --level level.pt --out bundle --version 0.2.0

  lumbar-train export --run run --level level.pt --out bundle --version 0.2.0 --card more.json

  lumbar-train export --run old --level a.pt --level b.pt --roots roots.pt --out new --version 0.2.1

  lumbar-train export --run a --mean-with b --mean-with old --level old/level.safetensors --out new --version 0.3.0

[bold]Exit status[/bold]: 0 done, 2 card refused, 4 unreadable weights, 6 the bundle does not load.
"""


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
    from training.phantom.study import Options, write_study

    options = Options(
        cast("Any", fov.value), slices, matrix, oblique, coded, distractors, drop_slice
    )
    bar, said, advance = progress(cases, "phantom")
    written = []
    with bar:
        for number in range(cases):
            written.append(write_study(out, seed + number, options, said))
            advance()
    for folder in written:
        typer.echo(str(folder))


@app.command(help=_PREPARE_HELP)
def prepare(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, typer.Option(help="Folder to write the cases to.")],
    phantoms: Annotated[int, typer.Option(min=0, help="How many phantoms.")] = 0,
    lumbar: Annotated[
        int, typer.Option(min=0, help="How many phantoms as slabs of the whole lumbar spine.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first phantom.")] = 1000,
    spider: Annotated[Path | None, typer.Option(help="Folder of SPIDER volumes (NIfTI).")] = None,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of CT label maps, painted as T2 SPACE.")
    ] = None,
    slices: Annotated[int | None, typer.Option(min=4, help="Fewer slices of phantoms.")] = None,
    matrix: Annotated[int | None, typer.Option(min=32, help="Smaller matrix of phantoms.")] = None,
) -> None:
    """Prepare training cases."""
    from training.data import painted_ct as real_shapes
    from training.data import prepare as preparing
    from training.errors import UsageError

    if not phantoms and not lumbar and spider is None and shapes is None:
        raise UsageError(
            "nothing to prepare: give --phantoms N, --lumbar N, --spider FOLDER or --shapes FOLDER"
        )
    total = phantoms + lumbar + (len(preparing.spider_subjects(spider)) if spider else 0)
    total += len(real_shapes.label_maps(shapes)) if shapes else 0
    bar, said, advance = progress(total, "prepare")

    def done(name: str) -> None:
        said(name)
        advance()

    with bar:
        if spider is not None:
            preparing.prepare_spider(spider, out, done)
        if shapes is not None:
            real_shapes.prepare_shapes(shapes, out, seed, done)
        preparing.prepare_phantoms(seed, phantoms, out, done, slices=slices, matrix=matrix)
        preparing.prepare_phantoms(seed, lumbar, out, done, fov="lumbar")
    typer.echo(f"{total} cases in {out}")


@app.command(help=_EXPORT_HELP)
def export(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    run: Annotated[
        Path, typer.Option(help="Folder of a training run, or a bundle whose weights stay.")
    ],
    level: Annotated[
        list[Path],
        typer.Option(help="Weights of the level finder (.pt, .safetensors); repeat to join some."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    version: Annotated[str, typer.Option(help="Version written into every result.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "lumbar-l45",
    card: Annotated[Path | None, typer.Option(help="JSON file of further card fields.")] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Roots network: what `roots` wrote, or a bundle.")
    ] = None,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(help="Run or bundle whose weights are averaged with --run's; repeat."),
    ] = None,
) -> None:
    """Write a bundle from a run's averaged weights, a level finder and a roots network."""
    from training import export as exporting
    from training.errors import UsageError

    try:
        extra = {} if card is None else dict(json.loads(card.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{card}: {error}; give a JSON object") from error
    today = datetime.now(UTC).date().isoformat()
    fields = exporting.CardFields(version, today, name, extra)
    typer.echo(str(exporting.export(run, level, out, fields, roots, mean_with or [])))


commands_check.register(app)
commands_crossval.register(app)
commands_evaluate.register(app)
commands_fit.register(app)
commands_import.register(app)
commands_level.register(app)
commands_report.register(app)
commands_retrain.register(app)
commands_roots.register(app)
commands_shifts.register(app)


def main() -> None:
    """Run the command line; refusals end with their one line and exit code."""
    from training.fit.cpu import keep_memory

    keep_memory()
    try:
        app()
    except LumbarError as error:
        sys.stderr.write(f"lumbar-train: {error}\n")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
