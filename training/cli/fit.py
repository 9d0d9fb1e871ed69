"""`lumbar-train fit`: one process, or several under `torchrun`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.fit.segmentation import Fit, Progress

_FIT_HELP = """Train the segmentation network on prepared cases; stops and resumes at any step.

[bold]OUT[/bold] gets checkpoint.pt, whole at any moment, and recipe.json. The same recipe and cases give the
same weights on the same machine and number of threads, also when the run was stopped in between.

[bold]Examples[/bold]

  lumbar-train fit --cases cases --out run --held-out phantom-001091 --held-out spider-005

  lumbar-train fit --cases cases --out run --recipe recipe.toml --max-minutes 90 --threads 2

  lumbar-train fit --cases cases --out run --start model/bundles/lumbar-l45

  torchrun --nproc-per-node 2 -m training fit --cases cases --out run

[bold]Exit status[/bold]: 0 done or time over, 2 recipe refused, 4 no cases or an unreadable checkpoint.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_FIT_HELP)(fit)


def fit(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint.pt, recipe.json.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (TOML); without it, defaults.")
    ] = None,
    max_minutes: Annotated[float, typer.Option(min=0, help="Stop after this time.")] = math.inf,
    resume: Annotated[bool, typer.Option(help="Continue the run in OUT, if there is one.")] = True,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
    held_out: Annotated[
        list[str] | None,
        typer.Option(help="Case id never trained on; repeat. Replaces the recipe's."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Bundle whose weights a new run begins with.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write OUT/tensorboard.")] = False,
) -> None:
    """Train the segmentation network on prepared cases."""
    import torch

    from training.fit import segmentation as fitting
    from training.fit.distributed import joined
    from training.fit.recipe import Recipe, read

    chosen = Recipe() if recipe is None else read(recipe)
    if held_out:
        chosen = replace(chosen, held_out=tuple(sorted(set(held_out))))
    if threads:
        torch.set_num_threads(threads)
    with joined() as ranks:
        ready, held = fitting.prepare_fit(
            cases, out, chosen, resume=resume, start=start, ranks=ranks
        )
        with _told(ready, out, tensorboard=tensorboard) as report:
            done = fitting.run(ready, out, max_minutes=max_minutes, validation=held, report=report)
        if ranks.first:
            state = "done" if done else "time over"
            typer.echo(f"{out}: step {ready.step} of {chosen.steps}, {state}")


@contextmanager
def _told(ready: Fit, out: Path, *, tensorboard: bool) -> Iterator[Callable[[Progress], None]]:
    """Progress on the terminal, and for TensorBoard where wanted; nothing from further processes."""
    if not ready.ranks.first:
        yield lambda _: None
        return
    from training.cli.progress import progress

    bar, said, _ = progress(ready.recipe.steps, "fit")
    writer = _writer(out) if tensorboard else None

    def report(now: Progress) -> None:
        bar.update(bar.task_ids[0], completed=now.step)
        said(f"loss {now.loss:.4f}")
        if now.dice is not None:
            bar.console.print(now.step, *(f"{k} {v:.3f}" for k, v in now.dice.items()))
        if writer is not None:
            writer("loss", now.loss, now.step)
            writer("learning rate", now.learning_rate, now.step)
            for name, value in (now.dice or {}).items():
                writer(f"Dice/{name}", value, now.step)

    with bar:
        bar.update(bar.task_ids[0], completed=ready.step)
        yield report


def _writer(out: Path) -> Callable[[str, float, int], None]:
    from torch.utils.tensorboard import SummaryWriter

    summary = SummaryWriter(str(out / "tensorboard"))

    def write(name: str, value: float, step: int) -> None:
        summary.add_scalar(name, value, step)
        summary.flush()

    return write
