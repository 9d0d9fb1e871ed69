"""`lumbar-train roots`: the network of the L4 roots, which `export --roots` joins with the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from training.fit.roots import RootsFit

_HELP = """Train the network that draws the L4 roots at full resolution, beside a bundle's answers; two draws a step.

Only cases that label the roots are drawn, which are phantoms. [bold]OUT[/bold] is the file of its weights, for
[bold]lumbar-train export --roots[/bold]; it is written every 500 steps, and the same command goes on from it. Dice of
held-out cases is told with it.

[bold]Examples[/bold]

  lumbar-train roots --cases cases --bundle model/bundles/lumbar-l45 --out roots.pt --threads 2

  lumbar-train roots --cases cases --bundle bundle --start bundle --out roots.pt --steps 2000

[bold]Exit status[/bold]: 0 done, 2 OUT holds another training, 4 no case that labels roots, or no bundle.
"""
EVERY: Final = 500
"""Steps between files."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(roots)


def roots(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    bundle: Annotated[Path, typer.Option(help="Bundle whose answers it looks at.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of two draws.")] = 5000,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, help="The highest; lower for a network to go on from.")
    ] = 3e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 1,
    held_out: Annotated[
        list[str] | None, typer.Option(help="Case id never trained on; repeat.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Bundle or file of weights that it begins with.")
    ] = None,
    variants: Annotated[
        int, typer.Option(min=1, help="Answers per case, each with another error of its level.")
    ] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from OUT, if it is there.")] = True,
    mixed: Annotated[
        bool, typer.Option(help="In bfloat16 where the CPU has it: four times as fast.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Train the roots network."""
    import numpy as np
    import torch

    from model.bundle.load import load, read_card
    from training.cli.progress import progress
    from training.export import roots_network
    from training.fit import checkpoint
    from training.fit.recipe import Recipe
    from training.fit.roots import RootsFit, RootsRecipe, fit_roots, kept_of
    from training.fit.roots_samples import dice_of, items_of
    from training.fit.segmentation import split

    if threads:
        torch.set_num_threads(threads)
    phantoms, slabs, aside = split(cases, Recipe(held_out=tuple(held_out or ())))
    drawn = [*phantoms, *slabs]
    recipe = RootsRecipe(
        steps,
        learning_rate,
        seed=seed,
        mixed=mixed,
        beside=read_card(bundle)["digest"],
        cases=tuple(path.stem for path in drawn),
        variants=variants,
    )
    kept = kept_of(out, recipe) if resume and out.exists() else None
    begin = None if start is None else roots_network(start)
    engine = load(bundle).engine
    items = items_of(drawn, engine, variants, seed)
    held = items_of(aside, engine, 1, seed)
    del engine  # its compiled window holds as much memory as the training
    bar, said, _ = progress(steps, "roots")

    def report(fit: RootsFit) -> None:
        bar.update(bar.task_ids[0], completed=fit.step)
        said(f"loss {fit.loss:.4f}")
        if fit.step % EVERY == 0:
            checkpoint.save(out, fit.state())
            if held:
                dice = np.mean([dice_of(fit.average.eval(), item) for item in held])
                bar.console.print(f"step {fit.step}: Dice of {len(held)} held-out cases {dice:.3f}")

    fit = RootsFit(items, recipe, begin)
    if kept is not None:
        fit.restore(kept)
    with bar:
        fit_roots(fit, report)
    checkpoint.save(out, fit.state())
    typer.echo(str(out))
