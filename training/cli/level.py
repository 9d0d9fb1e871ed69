"""`lumbar-train level`: the level finder, which `export` joins with a segmentation network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import (
    CasesOption,
    DeviceOption,
    HeldOutOption,
    MixedOption,
    SeedOption,
    StartOption,
    ThreadsOption,
    out_file,
    use_threads,
)
from training.cli.output import ProgressBar, show_links_below


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("level")(level)


def level(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    out: Annotated[Path, out_file("File of the weights.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps, batch size 2.")] = 3000,
    seed: SeedOption = 1,
    held_out: HeldOutOption = None,
    start: StartOption = None,
    members: Annotated[
        int,
        typer.Option(
            min=0,
            help="Networks trained separately, --steps each; their mean is the output. 0: as many as --start has, else 1.",
        ),
    ] = 0,
    threads: ThreadsOption = 0,
    mixed: MixedOption = False,
    resume: Annotated[bool, typer.Option(help="Continue OUT.unfinished, if it exists.")] = True,
    device: DeviceOption = "auto",
) -> None:
    """Train the level finder on prepared cases.

    The default of 3000 steps takes about half an hour on one core. The same cases, steps and seed give
    the same weights (with --mixed up to rounding), also when the training was stopped in between: it
    continues from OUT.unfinished, written every half minute. Errors of held-out cases are printed at the end.

    \b
    Examples:
      lumbar-train level --cases cases --out level.pt --held-out spider-005
      lumbar-train level --cases cases --out level.pt --start bundle --steps 500
      lumbar-train level --cases cases --out level.pt --start cv/level.pt

    \b
    Exit status: 0 done, 2 OUT.unfinished is of another training or no such
    device, 4 no cases, or weights that are not a level finder's.

    \b
    Files: OUT, for `lumbar-train export --level`
    """
    from model.bundle.card import LEVEL_WEIGHTS
    from training.data.held_out import split_cases
    from training.export import load_level_network
    from training.fit.device import choose_device
    from training.fit.level import LevelRecipe, errors_mm, save_level, train_level, unfinished_file
    from training.fit.level_samples import load_coarse_cases

    chosen = choose_device(device)
    use_threads(threads)
    show_links_below(cases)
    begin = None
    if start is not None:
        network, settings = load_level_network(start / LEVEL_WEIGHTS if start.is_dir() else start)
        begin, members = network.state_dict(), members or settings.members
    members = members or 1
    phantoms, slabs, kept = split_cases(cases, held_out or ())
    coarse_cases = load_coarse_cases([*phantoms, *slabs])
    keep = unfinished_file(out)
    if not resume:
        keep.unlink(missing_ok=True)
    with ProgressBar(members * steps, "level") as bar:

        def report(step: int, loss: float) -> None:
            bar.show(f"loss {loss:.4f}", step)

        network = train_level(
            coarse_cases,
            LevelRecipe(steps, members, seed, mixed),
            start=begin,
            keep=keep,
            report=report,
            device=chosen,
        )
    save_level(network, out)
    keep.unlink(missing_ok=True)
    for case, error in errors_mm(network, kept).items():
        typer.echo(f"{case}: {'not found' if math.isnan(error) else f'{error:.1f} mm'}")
    typer.echo(str(out))
