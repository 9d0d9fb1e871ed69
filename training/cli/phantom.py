"""`lumbar-train phantom`: synthetic MR studies with their truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from training.cli.options import out_folder
from training.cli.output import ProgressBar


class VesselChoice(StrEnum):
    """Vessels of the persons."""

    USUAL = "usual"
    VARIED = "varied"


class FovChoice(StrEnum):
    """Fields of view."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    SLAB = "slab"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("phantom")(phantom)


def phantom(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, out_folder("Folder to write the studies to.")],
    cases: Annotated[int, typer.Option(min=1, help="Number of persons.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the next count up.")] = 1,
    fov: Annotated[
        FovChoice, typer.Option(help="axial: L4/5; sagittal: entire lumbar spine.")
    ] = FovChoice.AXIAL,
    coded: Annotated[
        bool, typer.Option("--coded", help="Voxel values encode the labels, for tests.")
    ] = False,
    oblique: Annotated[
        bool, typer.Option("--oblique", help="Tilt the grid 12° and turn it 4°.")
    ] = False,
    slices: Annotated[int | None, typer.Option(min=4, help="Fewer slices.")] = None,
    matrix: Annotated[
        int | None, typer.Option(min=32, help="Rows and columns over the same field.")
    ] = None,
    distractors: Annotated[
        bool, typer.Option("--distractors", help="Add series that must not be selected.")
    ] = False,
    drop_slice: Annotated[int | None, typer.Option(min=0, help="Omit this slice.")] = None,
    vessels: Annotated[
        VesselChoice, typer.Option(help="varied: vein flat on the disc, grey blood, far divisions.")
    ] = VesselChoice.USUAL,
) -> None:
    """Write synthetic MR studies with their truth.

    One folder per case. The same seed gives the same bytes.

    \b
    Examples:
      lumbar-train phantom --out studies --cases 3 --seed 7
      lumbar-train phantom --out studies --cases 1 --distractors --oblique
      lumbar-train phantom --out quick --cases 2 --coded --slices 64 --matrix 160

    \b
    Exit status: 0 done, 2 options contradict each other.

    \b
    Files, per case under OUT/CASE:
      SERIES/*.dcm
      truth.json   true measurements with end points in LPS mm, disc plane, card
      labels.npz   labels on the acquired grid
    """
    from training.phantom.study import StudyOptions, write_study

    options = StudyOptions(
        cast("Any", fov.value),
        slices,
        matrix,
        oblique,
        coded,
        distractors,
        drop_slice,
        cast("Any", vessels.value),
    )
    folders = []
    with ProgressBar(cases, "phantom") as bar:
        for number in range(cases):
            folders.append(write_study(out, seed + number, options, bar.show))
            bar.advance(folders[-1].name)
    for folder in folders:
        typer.echo(str(folder))
