"""`lumbar-train prepare`: phantoms, SPIDER volumes and painted CT label maps as prepared cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import out_folder
from training.cli.output import ProgressBar, show_links_below


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prepare")(prepare)


def prepare(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, out_folder("Folder to write the cases to.")],
    phantoms: Annotated[int, typer.Option(min=0, help="Number of phantoms.")] = 0,
    lumbar: Annotated[
        int, typer.Option(min=0, help="Number of phantoms as slabs of the entire lumbar spine.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first phantom.")] = 1000,
    spider: Annotated[Path | None, typer.Option(help="Folder of SPIDER volumes (NIfTI).")] = None,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of CT label maps, painted as T2 SPACE.")
    ] = None,
    slices: Annotated[int | None, typer.Option(min=4, help="Fewer slices of phantoms.")] = None,
    matrix: Annotated[int | None, typer.Option(min=32, help="Smaller matrix of phantoms.")] = None,
    grey_blood: Annotated[
        bool, typer.Option("--grey-blood", help="CT label maps: the blood of --varied.")
    ] = False,
    varied: Annotated[
        int, typer.Option(min=0, help="Number of phantoms with varied vessels and blood.")
    ] = 0,
) -> None:
    """Make training cases of phantoms, SPIDER or CT label maps.

    Existing cases are kept, so the same command continues an interrupted run.

    \b
    Examples:
      lumbar-train prepare --out cases --phantoms 24 --lumbar 12 --seed 1000
      lumbar-train prepare --out cases --varied 24 --seed 3000
      lumbar-train prepare --out cases --spider ../shared/data/spider
      lumbar-train prepare --out shapes --shapes ../shared/data/vessels_psoas

    \b
    Exit status: 0 done, 2 no source was given, 4 the folder holds no such
    volumes.

    \b
    Files: OUT/CASE.npz, OUT/CASE.json
    """
    from training.data import painted_ct
    from training.data import prepare as preparing
    from training.errors import UsageError

    if not phantoms and not lumbar and not varied and spider is None and shapes is None:
        raise UsageError(
            "no source of cases; give --phantoms N, --varied N, --lumbar N, --spider FOLDER or --shapes FOLDER"
        )
    total = phantoms + varied + lumbar + (len(preparing.spider_subjects(spider)) if spider else 0)
    total += len(painted_ct.list_label_maps(shapes)) if shapes else 0
    with ProgressBar(total, "prepare") as bar:
        if spider is not None:
            preparing.prepare_spider(spider, out, bar.advance)
        if shapes is not None:
            painted_ct.prepare_painted_ct(
                shapes, out, seed, bar.advance, "varied" if grey_blood else "usual"
            )
        preparing.prepare_phantoms(seed, phantoms, out, bar.advance, slices=slices, matrix=matrix)
        preparing.prepare_phantoms(
            seed, varied, out, bar.advance, slices=slices, matrix=matrix, vessels="varied"
        )
        preparing.prepare_phantoms(seed, lumbar, out, bar.advance, fov="lumbar")
    show_links_below(out)
    typer.echo(f"{total} cases in {out}")
