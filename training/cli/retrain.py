"""`lumbar-train retrain` and `held-out`: parse, call, print."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from training.fit.recipe import Recipe
    from training.fit.segmentation import Progress
    from training.retrain.compare import Comparison

NOTHING_PROPOSED: Final = 3
NO_ROOM_BYTES: Final = 1_000_000
"""Free space below which a library's failed write is taken for a full disk."""

_RETRAIN_HELP = """Train from the model in service and propose the result, if the fixed held-out cases allow it.

The candidate is proposed when no structure's mean Dice is worse than the model in service by more than
the margin, none is significantly worse (paired Wilcoxon, one-sided, p < 0.05), every structure was compared
and at least one is better. Nothing is put into service: [bold]lumbar-node models promote[/bold] does that.

[bold]OUT[/bold] gets run/, candidate/ (the bundle) and comparison.json. The same command goes on after a kill.

[bold]Examples[/bold]

  lumbar-train held-out --cases cases --out held-out.json

  lumbar-train retrain --cases cases --held-out held-out.json --out retraining

  lumbar-train retrain --cases cases --held-out held-out.json --out retraining --bundle bundle --max-minutes 90

[bold]Exit status[/bold]: 0 proposed, 1 disk full, 2 options, recipe or held-out set refused, 3 rejected (the reasons
are printed) or time over before the recipe's end (no comparison.json), 4 unreadable cases or checkpoint,
6 the bundle is not whole.
"""

_HELD_OUT_HELP = """Fix the held-out cases that every retraining is compared on: ids and digests in one file.

Without --case those are taken that the bundle's card names as held out.

[bold]Examples[/bold]

  lumbar-train held-out --cases cases --out held-out.json

  lumbar-train held-out --cases cases --out held-out.json --case spider-005 --case phantom-001091

[bold]Exit status[/bold]: 0 done, 4 no such cases, 6 the bundle is not whole.
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help=_RETRAIN_HELP)(retrain)
    app.command("held-out", help=_HELD_OUT_HELP)(held_out)


def held_out(
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    case: Annotated[list[str] | None, typer.Option(help="Case id; repeat.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle whose card names them; without it, the shipped one.")
    ] = None,
) -> None:
    """Fix the held-out cases."""
    from model.bundle.load import default_path, read_card
    from training.data import held_out as holding

    ids = case or read_card(bundle or default_path()).get("training", {}).get("held_out", ())
    typer.echo(f"{out}: {len(holding.write(out, cases, ids))} cases held out")


def retrain(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    held_out: Annotated[Path, typer.Option(help="File of the fixed held-out cases.")],
    out: Annotated[Path, typer.Option(help="Folder of the retraining.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The model in service; without it, the shipped one.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (TOML); without it, defaults and that architecture.")
    ] = None,
    max_minutes: Annotated[float, typer.Option(min=0, help="Stop training then.")] = math.inf,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Dice that a structure's mean may lose.")
    ] = 0.01,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with random weights.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Train, compare, propose or not."""
    import torch

    from model.bundle.load import default_path
    from training.retrain import retrain as retraining

    if threads:
        torch.set_num_threads(threads)
    task = retraining.Task(
        cases, held_out, bundle or default_path(), out, recipe, margin, fresh=fresh
    )
    score = retraining.scored(
        lambda s: typer.echo(f"scored {s.case_id} in {s.seconds:.1f} s"), threads
    )
    with _full_disk_told(out):
        found = retraining.retrain(task, score, max_minutes=max_minutes, report=_told)
    if isinstance(found, retraining.Unfinished):
        typer.echo(f"time over at step {found.step} of {found.steps}; the same command goes on")
        raise typer.Exit(NOTHING_PROPOSED)
    _show(found)
    typer.echo(f"{found.verdict}: {out / retraining.COMPARISON}")
    if found.verdict == "rejected":
        raise typer.Exit(NOTHING_PROPOSED)


def _told(now: Progress, recipe: Recipe) -> None:
    """One line per report: a job's log is read later, by people."""
    done = f"step {now.step} of {recipe.steps}"
    typer.echo(f"{done}, loss {now.loss:.4f}, {now.seconds:.0f} s")


@contextmanager
def _full_disk_told(out: Path) -> Iterator[None]:
    """Say "disk full" in one line, also where a library says something else."""
    from training.errors import DiskFull

    try:
        yield
    except (OSError, RuntimeError) as error:
        number: Any = getattr(error, "errno", None)
        near = next((p for p in (out, *out.parents) if p.is_dir()), Path())
        if number in {errno.ENOSPC, errno.EDQUOT} or (
            isinstance(error, RuntimeError) and shutil.disk_usage(near).free < NO_ROOM_BYTES
        ):
            raise DiskFull(
                f"{out}: no space left on the disk; free some and give the same command again"
            ) from error
        raise


def _show(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("structure", "pairs", "in service", "candidate", "difference", "p (worse)")
    for row in found.rows:
        figures = (row.in_service, row.candidate, row.difference, row.p_worse)
        table.add_row(
            row.structure, str(row.pairs), *("–" if v is None else f"{v:.4f}" for v in figures)
        )
    Console().print(table)
    for line in (*found.reasons, *found.notes):
        typer.echo(f"  {line}")
