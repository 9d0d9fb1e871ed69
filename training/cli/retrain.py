"""`lumbar-train retrain` and `held-out`: a candidate for the model in service, and what it is compared on."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from training.cli.options import (
    BundleOption,
    CaseOption,
    CasesOption,
    ThreadsOption,
    out_file,
    out_folder,
    use_threads,
)
from training.cli.output import new_table, print_table, show_links_below

if TYPE_CHECKING:
    from training.evaluate.case_results import CaseResult
    from training.fit.recipe import Recipe
    from training.fit.segmentation import Progress
    from training.retrain.gate import GateDecision
    from training.retrain.retrain import Draw, Task

NOTHING_PROPOSED: Final = 3
NO_ROOM_BYTES: Final = 1_000_000
"""Free space below which a library's failed write is taken for a full disk."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("held-out")(held_out)
    app.command("retrain")(retrain)


def held_out(
    cases: CasesOption,
    out: Annotated[Path, out_file("JSON file of the held-out set.")],
    case: CaseOption = None,
    bundle: BundleOption = None,
) -> None:
    """Fix the held-out cases on which every retraining is compared.

    \b
    Examples:
      lumbar-train held-out --cases cases --out held-out.json
      lumbar-train held-out --cases cases --out held-out.json --case spider-005

    \b
    Exit status: 0 done, 4 no such cases, 6 the bundle is damaged.
    """
    from model.bundle.card import default_path, read_card
    from training.data import held_out as holding

    ids = case or read_card(bundle or default_path()).get("training", {}).get("held_out", ())
    typer.echo(f"{out}: {len(holding.write_held_out(out, cases, ids))} cases held out")


def retrain(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    held_out: Annotated[Path, typer.Option(help="File of the fixed held-out cases.")],
    out: Annotated[Path, out_folder("Folder of the retraining.")],
    bundle: BundleOption = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe (TOML); default: built-in values and the bundle's architecture."),
    ] = None,
    max_minutes: Annotated[
        float, typer.Option(min=0, help="Stop training after this time.")
    ] = math.inf,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Largest accepted drop in mean Dice of a structure.")
    ] = 0.01,
    margin_mm: Annotated[
        float, typer.Option(min=0, help="Largest accepted rise of a median error, mm.")
    ] = 0.3,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start from random weights.")] = False,
    threads: ThreadsOption = 0,
) -> None:
    """Train from the model in service; decide whether to propose it.

    The candidate is proposed when every structure was compared, no structure's mean Dice is worse than
    that of the model in service by more than the margin, none is significantly worse (paired Wilcoxon,
    one-sided, p < 0.05), at least one is better, and no measurement's median error against the
    references is larger by more than --margin-mm or significantly, or refused more often. `lumbar-node models promote` puts it into service.
    The same command continues an interrupted retraining.

    Before the first step it checks what would reject every candidate: held-out set, cases, recipe, disk, and the
    results of the model in service. One line each says what to do, and nothing is trained.

    \b
    Examples:
      lumbar-train held-out --cases cases --out held-out.json
      lumbar-train retrain --cases cases --held-out held-out.json --out retraining
      lumbar-train retrain --cases cases --held-out held-out.json \\
        --out retraining --max-minutes 90

    \b
    Exit status: 0 proposed, 1 disk full, 2 options, recipe or held-out set,
    or nothing could be proposed, 3 rejected (the reasons are printed) or
    time limit reached (no comparison.json), 4 unreadable cases or
    checkpoint, 6 the bundle is damaged.

    \b
    Files: OUT/run/, OUT/candidate/ (the bundle), OUT/comparison.json,
    OUT/cases/ and OUT/worst/ (what it rests on: patients' images)
    """
    from model.bundle.card import default_path
    from training.retrain import retrain as retraining

    use_threads(threads)
    show_links_below(cases)
    task = retraining.Task(
        cases, held_out, bundle or default_path(), out, recipe, margin, margin_mm, fresh
    )
    evaluate = retraining.evaluator(
        task, lambda r: typer.echo(f"evaluated {r.case_id} in {r.seconds:.1f} s"), threads
    )
    with _full_disk_in_one_line(out):
        outcome = retraining.retrain(
            task,
            evaluate,
            max_minutes=max_minutes,
            report=_print_progress,
            draw=_drawing(task),
            say=typer.echo,
        )
    if isinstance(outcome, retraining.Unfinished):
        typer.echo(
            f"time limit reached at step {outcome.step} of {outcome.steps}; the same command continues"
        )
        raise typer.Exit(NOTHING_PROPOSED)
    _show(outcome)
    typer.echo(f"{outcome.verdict}: {out / retraining.COMPARISON}")
    if outcome.verdict == "rejected":
        raise typer.Exit(NOTHING_PROPOSED)


def _drawing(task: Task) -> Draw:
    """Return what draws the worst cases of a comparison into its folder."""

    def draw(
        in_service: Sequence[CaseResult], candidate: Sequence[CaseResult]
    ) -> Sequence[Mapping[str, str]]:
        from training.data.cases import list_cases
        from training.report.worst import Side, draw_worst
        from training.retrain.retrain import CANDIDATE, CASES, IN_SERVICE

        kept = task.out / CASES
        paths = {p.stem: p for p in list_cases(task.cases)}
        new = Side(CANDIDATE, candidate, kept / CANDIDATE)
        old = Side(IN_SERVICE, in_service, kept / IN_SERVICE)
        return draw_worst(task.out, paths, new, old)

    return draw


def _print_progress(now: Progress, recipe: Recipe) -> None:
    """Print a line per report: a job's log is read later, by people."""
    done = f"step {now.step} of {recipe.steps}"
    typer.echo(f"{done}, loss {now.loss:.4f}, {now.seconds:.0f} s")


@contextmanager
def _full_disk_in_one_line(out: Path) -> Iterator[None]:
    """Raise `NoSpaceLeft`, also where a library reports a failed write in other words."""
    from training.errors import NoSpaceLeft

    try:
        yield
    except (OSError, RuntimeError) as error:
        number: Any = getattr(error, "errno", None)
        near = next((p for p in (out, *out.parents) if p.is_dir()), Path())
        if number in {errno.ENOSPC, errno.EDQUOT} or (
            isinstance(error, RuntimeError) and shutil.disk_usage(near).free < NO_ROOM_BYTES
        ):
            raise NoSpaceLeft(
                f"{out}: no space left on the disk; free some and run the same command again"
            ) from error
        raise


def _show(decision: GateDecision) -> None:
    head = ("structure", "pairs", "in service", "candidate", "difference", "p (worse)")
    table = new_table(head)
    for row in decision.rows:
        values = (row.in_service, row.candidate, row.difference, row.p_worse)
        table.add_row(
            row.structure, str(row.pairs), *("–" if v is None else f"{v:.4f}" for v in values)
        )
    print_table(table)
    table = new_table(("median error, mm", *head[1:], "refused"))
    for one in decision.measurements:
        values = (one.in_service_mm, one.candidate_mm, one.difference_mm, one.p_worse)
        refused = f"{one.refused_in_service}, {one.refused_candidate} of {one.references}"
        cells = ("–" if v is None else f"{v:.4f}" for v in values)
        table.add_row(one.measurement, str(one.pairs), *cells, refused)
    print_table(table)
    for line in (*decision.reasons, *decision.notes):
        typer.echo(f"  {line}")
