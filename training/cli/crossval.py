"""`lumbar-train crossval`: folds by patient, trained one after the other, resumed as often as needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.data.folds import Fold
    from training.evaluate.crossval_plan import Cohort, Plan
    from training.fit.recipe import Recipe

_HELP = """Cross-validate a recipe by patient: every case is tested once, by a network that never saw its patient.

[bold]OUT[/bold]/folds.json holds the folds; the same command goes on where it stopped. The weights with the best
validation Dice are tested; with few patients --last trains on all that are not tested instead. OUT/crossval.json holds all figures; `lumbar-train report --figures
OUT/crossval.json` makes pictures of them. Several processes with --only-fold may work in one OUT.

--level says who finds the level in the test, where a missed one counts Dice 0: [bold]case[/bold] tells the true one
(the default); [bold]fold[/bold] trains a finder in each fold, on all cases but the tested patients' (--level-steps);
[bold]bundle[/bold] takes the shipped finder, which may have seen the patients; or a file of a finder's weights.

Where other cases than the tested ones are there (--tested), --first trains one network and --level-first one
finder on the cases in no fold before, which those of each fold go on from.

[bold]Examples[/bold]

  lumbar-train crossval --cases cases/spider --out cv --folds 5 --recipe recipe.toml --level-steps 1000

  lumbar-train crossval --cases cases --tested spider --out cv --first phantoms.toml --recipe recipe.toml

  lumbar-train crossval --cases cases --tested spider --out cv --level-first 1500 --level-steps 600

  lumbar-train crossval --cases cases --tested spider --out cv --level bundle

  lumbar-train crossval --cases cases/spider --out cv --folds 5 --only-fold 2 --max-minutes 60

[bold]Exit status[/bold]: 0 done or time over, 2 recipe or folds refused, 4 no cases.
"""


class SourceChoice(StrEnum):
    """Where cases come from."""

    PHANTOM = "phantom"
    SPIDER = "spider"
    IMPORTED = "imported"


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
    first: Annotated[
        Path | None,
        typer.Option(help="Recipe (TOML) of a network on the cases in no fold, trained before."),
    ] = None,
    max_minutes: Annotated[
        float, typer.Option(min=0, help="Stop training after this time, over all folds.")
    ] = math.inf,
    only_fold: Annotated[
        int | None, typer.Option(min=1, help="Only this one; the first is 1.")
    ] = None,
    tested: Annotated[
        SourceChoice | None,
        typer.Option(help="Only cases of this source are in folds; all others are trained on."),
    ] = None,
    level: Annotated[str, typer.Option(help="case, fold, bundle or a file of weights.")] = "",
    level_steps: Annotated[int, typer.Option(min=0, help="Steps of each fold's level finder.")] = 0,
    level_first: Annotated[
        int, typer.Option(min=0, help="Steps before, on the cases in no fold, shared by all folds.")
    ] = 0,
    level_members: Annotated[
        int, typer.Option(min=1, help="Networks of each finder, trained apart; their mean answers.")
    ] = 1,
    last: Annotated[
        bool,
        typer.Option(
            "--last", help="Test the last step; the validation part is trained on as well."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with OUT; without, its runs are removed.")
    ] = True,
    engine: Annotated[str, typer.Option(help="Engine of the test.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
) -> None:
    """Cross-validate a recipe."""
    import torch

    from model.bundle.load import default_path
    from training.cli.evaluate import show
    from training.data import folds as folding
    from training.errors import UsageError
    from training.evaluate import crossval as crossing
    from training.evaluate.case_results import write_json
    from training.evaluate.crossval_plan import Cohort, check_plan, in_no_fold, said_of
    from training.fit.recipe import Recipe, read

    if threads:
        torch.set_num_threads(threads)
    chosen = Recipe() if recipe is None else read(recipe)
    plan = replace(
        planned(chosen, level, (level_first, level_steps), engine, threads),
        first=None if first is None else read(first),
        level_members=level_members,
        last=last,
    )
    paths = folding.of_source(cases, tested.value if tested else None)
    drawn = folding.stored(out / "folds.json", list(paths.values()), folds, chosen.seed)
    cohort = Cohort(cases, paths, default_path())
    option = "--first" if first else "--level-first" if level_first else None
    if option and not in_no_fold(cohort):
        raise UsageError(
            f"{option}: every patient below {cases} is in a fold; add phantoms and name --tested, or leave it out"
        )
    check_plan(out, plan, resume=resume, only=only_fold)
    _run(drawn, cohort, out, plan, only_fold, max_minutes)
    # Read again: another process may have finished folds of its own meanwhile.
    results = [crossing.finished(out, number) for number in range(1, folds + 1)]
    told = crossing.together(results, plan)
    write_json(out / crossing.TOGETHER, told)
    if any(results):
        show([c for part in results if part for c in part])
    typer.echo(f"{told['finished']} of {folds} folds finished; level {said_of(plan)}")


def _run(
    folds: Sequence[Fold],
    cohort: Cohort,
    out: Path,
    plan: Plan,
    only: int | None,
    max_minutes: float,
) -> None:
    """Work on the folds one after the other and say how each stands."""
    import time

    from training.evaluate import crossval as crossing
    from training.evaluate.crossval_plan import with_minutes

    ends_at = time.monotonic() + max_minutes * 60

    def timed() -> Plan:
        return with_minutes(plan, max(0.0, (ends_at - time.monotonic()) / 60))

    todo = [
        n for n in range(1, len(folds) + 1) if only in {None, n} and not crossing.finished(out, n)
    ]
    if not todo:
        return
    with _told("cases in no fold") as report:
        begun = crossing.run_first(cohort, out, timed(), report)
    if not begun:
        typer.echo("cases in no fold: time over")
        return
    for number in todo:
        name = f"fold {number} of {len(folds)}"
        with _told(name) as report:
            done = crossing.run_fold(number, folds[number - 1], cohort, out, timed(), report)
        typer.echo(f"{name}: {'time over' if done is None else f'{len(done)} cases tested'}")


@contextmanager
def _told(name: str) -> Iterator[Callable[[str], None]]:
    """Progress of one run on the terminal, or as lines where there is none."""
    from rich.console import Console

    from training.cli.progress import now_and_then

    with Console().status(name) as status:
        line = now_and_then(status.console)

        def report(said: str) -> None:
            status.update(f"{name}: {said}")
            line(f"{name}: {said}")

        yield report


def planned(
    recipe: Recipe, level: str, level_steps: tuple[int, int], engine: str, threads: int
) -> Plan:
    """Return the plan of these options; `level_steps` before the folds and in each.

    Raises:
        UsageError: options of the level that contradict each other, or a file that is not there.
    """
    from training.errors import UsageError
    from training.evaluate.crossval_plan import GIVEN, OWN, SHIPPED, Plan

    first, own = level_steps
    chosen = level or (OWN if own else GIVEN)
    if (chosen == OWN) != bool(own) or (first and not own):
        raise UsageError(
            f"--level {chosen} with --level-steps {own}, --level-first {first}: --level fold and --level-steps belong together, --level-first is for them"
        )
    if chosen not in {GIVEN, OWN, SHIPPED} and not Path(chosen).is_file():
        raise UsageError(f"--level {chosen}: no such file; give case, fold, bundle or weights")
    return Plan(
        recipe,
        level=chosen,
        level_steps=own,
        level_first=first,
        engine=engine,
        threads=threads,
    )
