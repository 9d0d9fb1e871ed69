"""`lumbar-train crossval`: folds by patient, trained one after the other, resumed as often as needed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

_HELP = """Cross-validate a recipe by patient: every case is tested once, by a network that never saw its patient.

[bold]OUT[/bold]/folds.json holds the folds; the same command goes on where it stopped. With --level-steps each
fold also trains its own level finder, and a missed level counts Dice 0; without, the true level is told.

[bold]Examples[/bold]

  lumbar-train crossval --cases cases/spider --out cv --folds 5 --recipe recipe.toml --level-steps 1000

  lumbar-train crossval --cases cases/spider --out cv --folds 5 --only-fold 2 --max-minutes 60

[bold]Exit status[/bold]: 0 done or time over, 2 recipe or folds refused, 4 no cases.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(crossval)


def crossval(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: Annotated[Path, typer.Option(help="Folder of prepared cases, also one level down.")],
    out: Annotated[Path, typer.Option(help="Folder of the folds.")],
    folds: Annotated[int, typer.Option(min=2, help="How many.")] = 5,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (TOML); without it, defaults.")
    ] = None,
    max_minutes: Annotated[
        float, typer.Option(min=0, help="Stop training after this time, over all folds.")
    ] = math.inf,
    only_fold: Annotated[
        int | None, typer.Option(min=1, help="Only this one; the first is 1.")
    ] = None,
    level_steps: Annotated[int, typer.Option(min=0, help="Steps of each fold's level finder.")] = 0,
    engine: Annotated[str, typer.Option(help="Engine of the test.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Cross-validate a recipe."""
    import time

    import torch
    from rich.console import Console

    from model.bundle import default_path
    from training import crossval as crossing
    from training import folds as folding
    from training.commands_shared import tables
    from training.evaluate import CaseScore, table
    from training.fit import below
    from training.recipe import Recipe, read

    if threads:
        torch.set_num_threads(threads)
    chosen = Recipe() if recipe is None else read(recipe)
    paths = {p.stem: p for p in below(cases)}
    drawn = folding.stored(out / "folds.json", list(paths.values()), folds, chosen.seed)
    ends_at = time.monotonic() + max_minutes * 60
    console = Console()
    results: list[list[CaseScore] | None] = []
    for number, fold in enumerate(drawn, start=1):
        here = out / f"fold-{number}"
        if only_fold not in {None, number} and not (here / crossing.SCORES).exists():
            results.append(None)
            continue
        minutes = max(0.0, (ends_at - time.monotonic()) / 60)
        plan = crossing.Plan(chosen, level_steps, minutes, engine, threads)
        with console.status(f"fold {number} of {folds}") as status:
            results.append(
                crossing.run_fold(
                    fold, paths, default_path(), here, plan,
                    lambda said, n=number: status.update(f"fold {n} of {folds}: {said}"),  # type: ignore[misc]
                )
            )  # fmt: skip
        state = "time over" if results[-1] is None else f"{len(fold.test)} cases tested"
        typer.echo(f"fold {number} of {folds}: {state}")
    told = crossing.together(results, crossing.Plan(chosen, level_steps))
    (out / "crossval.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    scores = [s for part in results if part for s in part]
    for shown in (
        tables(table(scores), scores, frozenset(s.case_id for s in scores)) if scores else ()
    ):
        console.print(shown)
