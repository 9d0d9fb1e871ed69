"""`lumbar-train fit`: the segmentation network, in one process or in several under `torchrun`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import (
    CasesOption,
    DeviceOption,
    HeldOutOption,
    RecipeOption,
    StartOption,
    ThreadsOption,
    WorkersOption,
    out_folder,
    use_threads,
)
from training.cli.output import show_links_below

if TYPE_CHECKING:
    from model.networks.deeplab import DeepLabV3Plus3D
    from training.fit.loop import Trainer
    from training.fit.segmentation import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit)


def fit(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    out: Annotated[Path, out_folder("Folder of the run.")],
    recipe: RecipeOption = None,
    max_minutes: Annotated[float, typer.Option(min=0, help="Stop after this time.")] = math.inf,
    resume: Annotated[bool, typer.Option(help="Continue the run in OUT, if there is one.")] = True,
    threads: ThreadsOption = 0,
    held_out: HeldOutOption = None,
    start: StartOption = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write OUT/tensorboard.")] = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Train the segmentation network; stops and resumes at any step.

    On a CPU the same recipe and cases give the same weights on the same machine and number of threads,
    also when the run was stopped in between. Of several processes each takes the GPU of its LOCAL_RANK.
    OUT/best holds the weights with the highest Dice of the held-out cases, for export --run OUT/best. --held-out replaces the held-out cases of the recipe; further
    cases of their patients are held out as well.

    \b
    Examples:
      lumbar-train fit --cases cases --out run --held-out spider-005
      lumbar-train fit --cases cases --out run --recipe r.toml --max-minutes 90
      lumbar-train fit --cases cases --out run --start model/bundles/lumbar-l45
      torchrun --nproc-per-node 2 -m -- training fit --cases cases --out run

    \b
    Exit status: 0 done or time limit reached, 2 recipe, options or no such
    device, 4 no cases or an unreadable checkpoint.

    \b
    Files: OUT/checkpoint.pt (intact at any moment, written every half
    minute), OUT/recipe.json, OUT/best
    """
    from training.evaluate.best_weights import BestWeights
    from training.fit import segmentation as fitting
    from training.fit.device import choose_device
    from training.fit.distributed import joined_processes
    from training.fit.recipe import Recipe, read_recipe

    chosen = Recipe() if recipe is None else read_recipe(recipe)
    if held_out:
        chosen = replace(chosen, held_out=tuple(sorted(set(held_out))))
    use_threads(threads)
    with joined_processes(choose_device(device)) as processes:
        if processes.is_main:
            show_links_below(cases)
        ready, held = fitting.prepare_run(
            cases,
            out,
            chosen,
            resume=resume,
            start=start,
            processes=processes,
            running=fitting.Running(device, workers),
        )
        best = BestWeights(ready, out)
        with _reporting(ready, out, tensorboard=tensorboard) as show:

            def report(now: Progress) -> None:
                show(now)
                if now.dice:
                    best.offer(fmean(now.dice.values()))

            done = fitting.train_segmentation(
                ready,
                out,
                max_minutes=max_minutes,
                validation=held,
                objective=chosen.objective,
                report=report,
            )
        if processes.is_main:
            state = "done" if done else "time limit reached"
            typer.echo(f"{out}: step {ready.step} of {chosen.steps}, {state}")
            if best.dice is not None:
                typer.echo(f"{best.run}: step {best.step}, Dice {best.dice:.3f}")


@contextmanager
def _reporting(
    ready: Trainer[DeepLabV3Plus3D], out: Path, *, tensorboard: bool
) -> Iterator[Callable[[Progress], None]]:
    """Show progress on the terminal, and in TensorBoard if asked for; nothing from further processes."""
    if not ready.processes.is_main:
        yield lambda _: None
        return
    from training.cli.output import ProgressBar

    bar = ProgressBar(ready.training.steps, "fit")
    write_scalar = _scalar_writer(out) if tensorboard else None

    def report(now: Progress) -> None:
        bar.show(f"loss {now.loss:.4f}", now.step)
        if now.dice is not None:
            bar.print_line(
                " ".join([str(now.step), *(f"{k} {v:.3f}" for k, v in now.dice.items())])
            )
        if write_scalar is not None:
            write_scalar("loss", now.loss, now.step)
            write_scalar("learning rate", now.learning_rate, now.step)
            if now.validation_loss is not None:
                write_scalar("validation loss", now.validation_loss, now.step)
            for name, value in (now.dice or {}).items():
                write_scalar(f"Dice/{name}", value, now.step)

    with bar:
        bar.show("", ready.step)
        yield report


def _scalar_writer(out: Path) -> Callable[[str, float, int], None]:
    from torch.utils.tensorboard import SummaryWriter

    summary = SummaryWriter(str(out / "tensorboard"))

    def write(name: str, value: float, step: int) -> None:
        summary.add_scalar(name, value, step)
        summary.flush()

    return write
