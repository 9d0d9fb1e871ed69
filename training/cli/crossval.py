"""`lumbar-train crossval`: folds by patient, trained one after the other, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from training.cli.options import (
    CasesOption,
    RecipeOption,
    ThreadsOption,
    out_folder,
    use_threads,
)
from training.cli.output import show_links_below, show_status
from training.cli.workers import (
    CertificateOption,
    PrivateKeyOption,
    SchedulerOption,
    TrustedOption,
    reach,
)

if TYPE_CHECKING:
    from training.data.folds import Fold
    from training.evaluate.crossval_plan import Cohort, CrossvalPlan
    from training.evaluate.starting_bundle import Starting
    from training.fit.recipe import Recipe

SPREAD: Final = "dask"
"""Value of `--engine` that spreads the folds over workers."""


class SourceChoice(StrEnum):
    """Where cases come from."""

    PHANTOM = "phantom"
    SPIDER = "spider"
    IMPORTED = "imported"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("crossval")(crossval)


def crossval(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    out: Annotated[Path, out_folder("Folder of the folds.")],
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    recipe: RecipeOption = None,
    first: Annotated[
        Path | None,
        typer.Option(help="Recipe (TOML) of the pre-training on the cases in no fold."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Bundle that each fold is fine-tuned from.")
    ] = None,
    max_minutes: Annotated[
        float, typer.Option(min=0, help="Stop training after this time, over all folds.")
    ] = math.inf,
    only_fold: Annotated[int | None, typer.Option(min=1, help="Only this fold, from 1.")] = None,
    tested: Annotated[
        SourceChoice | None,
        typer.Option(help="Only cases of this source are in folds; all others are trained on."),
    ] = None,
    level: Annotated[str, typer.Option(help="case, fold, bundle or a file of weights.")] = "",
    level_steps: Annotated[int, typer.Option(min=0, help="Steps of each fold's level finder.")] = 0,
    level_first: Annotated[
        int,
        typer.Option(min=0, help="Steps of its pre-training on the cases in no fold."),
    ] = 0,
    level_members: Annotated[
        int,
        typer.Option(min=1, help="Networks of each finder, trained separately; their mean counts."),
    ] = 1,
    last: Annotated[
        bool,
        typer.Option("--last", help="Test the last step; the validation part is trained on too."),
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Continue OUT; --no-resume removes its runs.")
    ] = True,
    engine: Annotated[
        str, typer.Option(help="Engine of the test; dask: spread the folds over workers.")
    ] = "auto",
    scheduler: SchedulerOption = "",
    certificate: CertificateOption = None,
    private_key: PrivateKeyOption = None,
    trusted: TrustedOption = None,
    deadline: Annotated[
        float,
        typer.Option(min=0.1, help="Minutes without progress until a fold is given up there."),
    ] = 30.0,
    threads: ThreadsOption = 0,
) -> None:
    """Cross-validate a recipe by patient.

    Every case is tested once, by a network that never saw its patient. The same command continues an interrupted run. The weights with the best validation Dice are tested;
    with few patients, --last trains on all cases that are not tested instead. Several processes with
    --only-fold may share one OUT.

    --level is the source of the level in the test, where a missed one counts Dice 0. case: the true level
    (the default). fold: a finder trained in each fold on all cases but the tested patients'
    (--level-steps). bundle: the shipped finder, which may have seen the patients. Or a file of weights.

    Where there are more cases than the tested ones (--tested), --first pre-trains one network and
    --level-first one finder on the cases in no fold; those of each fold start from them.

    --start fine-tunes each fold from a bundle, as `fit --start` does; the recipe's architecture is the bundle's
    where it sets none. A bundle that was trained on tested patients makes the figures optimistic: how many its card
    does not name as held out is printed and kept in OUT/crossval.json.

    --engine dask trains each fold on a worker of --scheduler (`lumbar-train worker`), which needs the same program
    and a copy of the same cases. The fold comes back into OUT, with the numbers of this machine where both
    compute with as many --threads. A lost worker's fold begins again on another one.

    \b
    Examples:
      lumbar-train crossval --cases spider --out cv --level-steps 1000
      lumbar-train crossval --cases spider --out cv --only-fold 2
      lumbar-train crossval --cases cases --tested spider --out cv \\
        --first phantoms.toml --recipe recipe.toml
      lumbar-train crossval --cases cases --tested spider --out cv \\
        --level-first 1500 --level-steps 600
      lumbar-train crossval --cases cases --tested spider --out cv --level bundle
      lumbar-train crossval --cases own --out cv --start model/bundles/lumbar-l45
      lumbar-train crossval --cases cases --out cv --engine dask \\
        --scheduler tcp://127.0.0.1:8786

    \b
    Exit status: 0 done or time limit reached, 2 recipe, folds or options,
    4 no cases, 5 no worker, 6 the bundle to start from.

    \b
    Files: OUT/folds.json, OUT/crossval.json (for `lumbar-train report --results`)
    """
    from model.bundle.card import default_path
    from training.cli.evaluate import show
    from training.data import folds as folding
    from training.errors import UsageError
    from training.evaluate.case_results import write_json
    from training.evaluate.crossval_plan import (
        Cohort,
        check_plan,
        describe_level,
        in_no_fold,
    )
    from training.evaluate.crossval_results import COMBINED, combine, finished_results
    from training.evaluate.starting_bundle import Starting

    spread = engine == SPREAD
    files = reach(scheduler, certificate, private_key, trusted) if spread else None
    use_threads(threads)
    starting = None if start is None else Starting.read(start)
    read = starting.recipe if starting else _read_recipe
    plan = replace(
        build_plan(
            read(recipe), level, (level_first, level_steps), "auto" if spread else engine, threads
        ),
        first=None if first is None else read(first),
        level_members=level_members,
        last=last,
    )
    paths = folding.cases_of_source(cases, tested.value if tested else None)
    show_links_below(cases)
    drawn = folding.read_or_draw_folds(
        out / "folds.json", list(paths.values()), folds, plan.recipe.seed
    )
    cohort = Cohort(cases, paths, default_path())
    option = "--first" if first else "--level-first" if level_first else None
    if option and not in_no_fold(cohort):
        raise UsageError(
            f"{option}: every patient below {cases} is in a fold; add phantoms and --tested, or omit {option}"
        )
    plan = _with_start(plan, starting, cohort)
    check_plan(out, plan, resume=resume, only=only_fold)
    if starting:
        starting.copy_to(out)
    run = Run(drawn, cohort, out, plan, only_fold, max_minutes)
    if spread:
        from training.cli.crossval_spread import spread_folds

        spread_folds(run, scheduler, files, deadline * 60)
    else:
        train_folds(run)
    # Read again: another process may have finished folds of its own meanwhile.
    results = [finished_results(out, number) for number in range(1, folds + 1)]
    combined = combine(results, plan)
    write_json(out / COMBINED, combined)
    if any(results):
        show([c for part in results if part for c in part])
    typer.echo(f"{combined['finished']} of {folds} folds finished; level {describe_level(plan)}")


def _with_start(plan: CrossvalPlan, starting: Starting | None, cohort: Cohort) -> CrossvalPlan:
    """Return the plan with the bundle to start from, and print what it may have seen."""
    from training.evaluate.crossval_plan import describe_start

    if starting is None:
        return plan
    start = starting.of_folds(cohort)
    typer.echo(describe_start(start))
    return replace(plan, start=start)


def _read_recipe(file: Path | None) -> Recipe:
    from training.fit.recipe import Recipe, read_recipe

    return Recipe() if file is None else read_recipe(file)


@dataclass(frozen=True)
class Run:
    """One call of the command: the folds and what is done with them. only: this fold alone, from 1."""

    folds: Sequence[Fold]
    cohort: Cohort
    out: Path
    plan: CrossvalPlan
    only: int | None
    max_minutes: float
    began: float = field(default_factory=time.monotonic)

    def timed(self) -> CrossvalPlan:
        """Return the plan with the minutes that are left."""
        from training.evaluate.crossval_plan import with_minutes

        left_s = self.began + self.max_minutes * 60 - time.monotonic()
        return with_minutes(self.plan, max(0.0, left_s / 60))

    def to_do(self) -> list[int]:
        """Return the folds that are not finished; none if what they share reached the time limit, which is printed."""
        from training.evaluate import crossval as crossing
        from training.evaluate.crossval_results import finished_results

        numbers = range(1, len(self.folds) + 1)
        todo = [n for n in numbers if self.only in {None, n} and not finished_results(self.out, n)]
        if not todo:
            return []
        with show_status("cases in no fold") as report:
            begun = crossing.run_first(self.cohort, self.out, self.timed(), report)
        if not begun:
            typer.echo("cases in no fold: time limit reached")
        return todo if begun else []

    def ended(self, number: int, tested: int | None) -> None:
        """Print what became of a fold."""
        what = "time limit reached" if tested is None else f"{tested} cases tested"
        typer.echo(f"fold {number} of {len(self.folds)}: {what}")


def train_folds(run: Run) -> None:
    """Train and test the folds one after the other and print the state of each."""
    from training.evaluate import crossval as crossing

    for number in run.to_do():
        with show_status(f"fold {number} of {len(run.folds)}") as report:
            done = crossing.run_fold(
                number, run.folds[number - 1], run.cohort, run.out, run.timed(), report
            )
        run.ended(number, None if done is None else len(done))


def build_plan(
    recipe: Recipe, level: str, level_steps: tuple[int, int], engine: str, threads: int
) -> CrossvalPlan:
    """Return the plan of these options; `level_steps` before the folds and in each.

    Raises:
        UsageError: options of the level that contradict each other, or a file that is not there.
    """
    from training.errors import UsageError
    from training.evaluate.crossval_plan import GIVEN, OWN, SHIPPED, CrossvalPlan

    pretraining, own = level_steps
    chosen = level or (OWN if own else GIVEN)
    if (chosen == OWN) != bool(own) or (pretraining and not own):
        raise UsageError(
            f"--level {chosen} with --level-steps {own}, --level-first {pretraining}: --level fold and --level-steps belong together, --level-first is for them"
        )
    if chosen not in {GIVEN, OWN, SHIPPED} and not Path(chosen).is_file():
        raise UsageError(f"--level {chosen}: no such file; give case, fold, bundle or weights")
    return CrossvalPlan(
        recipe,
        level=chosen,
        level_steps=own,
        level_first=pretraining,
        engine=engine,
        threads=threads,
    )
