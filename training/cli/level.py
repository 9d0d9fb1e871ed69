"""`lumbar-train level`: the level finder, which `export` joins with a segmentation network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.level.finder import LevelNet

_HELP = """Train the level finder on prepared cases; about a minute for 100 steps on one core.

[bold]OUT[/bold] is the file of its weights, for [bold]lumbar-train export --level[/bold]. The same cases, steps and seed
give the same weights, with --mixed to rounding only, also when the training was stopped in between: it goes on from OUT.unfinished,
which is there until it is done. Errors of held-out cases are told at the end, none where the level was not found.

[bold]Examples[/bold]

  lumbar-train level --cases cases --out level.pt --held-out spider-005

  lumbar-train level --cases cases --out level.pt --steps 500 --start model/bundles/lumbar-l45

  lumbar-train level --cases cases --out level.pt --steps 1000 --start cv/level.pt

[bold]Exit status[/bold]: 0 done, 2 another training was stopped there, 4 no cases, or weights that are not a level finder's.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(level)


def level(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of two draws.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 1,
    held_out: Annotated[
        list[str] | None, typer.Option(help="Case id never trained on; repeat.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Bundle or file of weights that it begins with.")
    ] = None,
    members: Annotated[
        int,
        typer.Option(
            min=0,
            help="Networks trained apart, --steps each; their mean answers. 0: as many as --start has, else one.",
        ),
    ] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
    mixed: Annotated[
        bool, typer.Option(help="In bfloat16 where the CPU has it: four times as fast.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on from OUT.unfinished, if it is there.")] = True,
) -> None:
    """Train the level finder."""
    import torch

    from model.bundle.load import LEVEL_WEIGHTS
    from training.cli.progress import progress
    from training.export import level_network
    from training.fit.level import errors_mm, fit_levels, save_level, unfinished
    from training.fit.level_samples import smalls_of
    from training.fit.recipe import Recipe
    from training.fit.segmentation import split

    if threads:
        torch.set_num_threads(threads)
    held = tuple(held_out or ())
    begin = None
    if start is not None:
        file = start / LEVEL_WEIGHTS if start.is_dir() else start
        network, given = level_network(file)
        begin, members = network.state_dict(), members or given.members
    members = members or 1
    phantoms, slabs, kept = split(cases, Recipe(held_out=held))
    smalls = smalls_of([*phantoms, *slabs])
    keep = unfinished(out)
    if not resume:
        keep.unlink(missing_ok=True)
    bar, said, _ = progress(members * steps, "level")

    def report(step: int, loss: float, _: LevelNet) -> None:
        bar.update(bar.task_ids[0], completed=step)
        said(f"loss {loss:.4f}")

    with bar:
        network = fit_levels(
            smalls,
            steps,
            members,
            seed=seed,
            start=begin,
            mixed=mixed,
            keep=keep,
            report=report,
        )
    save_level(network, out)
    keep.unlink(missing_ok=True)
    for case, error in errors_mm(network, kept).items():
        typer.echo(f"{case}: {'not found' if math.isnan(error) else f'{error:.1f} mm'}")
    typer.echo(str(out))
