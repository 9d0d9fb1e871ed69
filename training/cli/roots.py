"""`lumbar-train roots`: the nerve-root refinement network, which `export --roots` joins with the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from training.cli.options import (
    CasesOption,
    HeldOutOption,
    MixedOption,
    SeedOption,
    StartOption,
    ThreadsOption,
    out_file,
    use_threads,
)
from training.cli.output import ProgressBar

if TYPE_CHECKING:
    from training.fit.roots import RootsFit

EVERY: Final = 500
"""Steps between files."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("roots")(roots)


def roots(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    bundle: Annotated[Path, typer.Option(help="Bundle whose predictions guide the network.")],
    out: Annotated[Path, out_file("File of the weights.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps, batch size 2.")] = 5000,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, help="Highest learning rate; lower to fine-tune.")
    ] = 3e-3,
    seed: SeedOption = 1,
    held_out: HeldOutOption = None,
    start: StartOption = None,
    variants: Annotated[
        int, typer.Option(min=1, help="Predictions per case, each with another error of its level.")
    ] = 2,
    resume: Annotated[bool, typer.Option(help="Continue OUT, if it exists.")] = True,
    mixed: MixedOption = False,
    threads: ThreadsOption = 0,
) -> None:
    """Train the full-resolution refinement of the L4 nerve roots, guided by a bundle's predictions.

    Only cases that label the roots are sampled, which are phantoms. OUT is written every 500 steps,
    with the Dice of held-out cases; the same command continues from it.

    \b
    Examples:
      lumbar-train roots --cases cases --bundle model/bundles/lumbar-l45 --out roots.pt --threads 2
      lumbar-train roots --cases cases --bundle bundle --start bundle --out roots.pt --steps 2000

    \b
    Exit status: 0 done, 2 OUT holds another training, 4 no case that labels roots, or no bundle.

    \b
    Files: OUT, for `lumbar-train export --roots`
    """
    import numpy as np

    from model.bundle.load import load, read_card
    from training.export import roots_network
    from training.fit import checkpoint
    from training.fit.recipe import Recipe
    from training.fit.roots import RootsFit, RootsRecipe, fit_roots, kept_of
    from training.fit.roots_samples import dice_of, items_of
    from training.fit.segmentation import split

    use_threads(threads)
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
    fit = RootsFit(items, recipe, begin)
    if kept is not None:
        fit.restore(kept)
    with ProgressBar(steps, "roots") as bar:

        def report(fit: RootsFit) -> None:
            bar.show(f"loss {fit.loss:.4f}", fit.step)
            if fit.step % EVERY == 0:
                checkpoint.save(out, fit.state())
                if held:
                    dice = np.mean([dice_of(fit.average.eval(), item) for item in held])
                    bar.print_line(
                        f"step {fit.step}: Dice of {len(held)} held-out cases {dice:.3f}"
                    )

        fit_roots(fit, report)
    checkpoint.save(out, fit.state())
    typer.echo(str(out))
