"""`lumbar-train roots`: the nerve-root refinement network, which `export --roots` joins with the others."""

from __future__ import annotations

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
    engine_device,
    out_file,
    use_threads,
)
from training.cli.output import ProgressBar, show_links_below


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
    device: DeviceOption = "auto",
) -> None:
    """Train the full-resolution refinement of the L4 nerve roots.

    The predictions of the bundle guide the network. Only cases that label the roots are sampled, which are phantoms. OUT is written every half
    minute, and the same command continues from it; every 500 steps the Dice of held-out cases is
    printed.

    \b
    Examples:
      lumbar-train roots --cases cases --bundle bundle --out roots.pt
      lumbar-train roots --cases cases --bundle bundle --out roots.pt \\
        --start bundle --steps 2000

    \b
    Exit status: 0 done, 2 OUT holds another training or no such device, 4 no
    case that labels roots, or no bundle.

    \b
    Files: OUT, for `lumbar-train export --roots`
    """
    import numpy as np

    from model.bundle.card import read_card
    from model.bundle.load import load_bundle
    from training.data.held_out import split_cases
    from training.export import load_roots_network
    from training.fit import checkpoint
    from training.fit.device import choose_device
    from training.fit.roots import CHECK_EVERY, RootsRecipe, RootsTraining, read_roots_checkpoint
    from training.fit.roots_samples import roots_dice, segment_cases

    chosen = choose_device(device)
    use_threads(threads)
    show_links_below(cases)
    phantoms, slabs, aside = split_cases(cases, held_out or ())
    sampled = [*phantoms, *slabs]
    recipe = RootsRecipe(
        steps,
        learning_rate,
        seed=seed,
        mixed=mixed,
        beside=read_card(bundle)["digest"],
        cases=tuple(path.stem for path in sampled),
        variants=variants,
    )
    kept = read_roots_checkpoint(out, recipe) if resume and out.exists() else None
    begin = None if start is None else load_roots_network(start)
    engine = load_bundle(bundle, device=engine_device(device)).engine
    items = segment_cases(sampled, engine, variants, seed)
    held = segment_cases(aside, engine, 1, seed)
    del engine  # its compiled window holds as much memory as the training
    training = RootsTraining(items, recipe, begin, chosen)
    if kept is not None:
        training.restore(kept)
    trainer = training.trainer
    with ProgressBar(steps, "roots") as bar:

        def report() -> None:
            bar.show(f"loss {trainer.loss:.4f}", trainer.step)
            if trainer.step % CHECK_EVERY == 0 and held:
                dice = np.mean([roots_dice(trainer.average.eval(), item) for item in held])
                bar.print_line(
                    f"step {trainer.step}: Dice of {len(held)} held-out cases {dice:.3f}"
                )

        training.run(report, lambda: checkpoint.save(out, training.state()))
    checkpoint.save(out, training.state())
    typer.echo(str(out))
