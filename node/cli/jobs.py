"""`lumbar-node jobs`: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    complain,
    config_of,
    say_json,
    say_line,
    say_table,
)
from node.cli.series import journal_of

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.rows import JobEventRow, JobPlan, JobRow

jobs_app = typer.Typer(help="Retraining jobs.", no_args_is_help=True, rich_markup_mode=None)

JobArgument = Annotated[int, typer.Argument(help="Number of the job.", metavar="JOB")]
ByOption = Annotated[str, typer.Option("--by", help="Who asks; kept in the journal.")]
BY_HAND = "by hand"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(jobs_app, name="jobs")


@jobs_app.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs, and what the schedule did last.

    \b
    Examples:
      lumbar-node jobs list
      lumbar-node jobs list --state proposed --json

    \b
    Exit status: 0, 2 configuration, unknown state or no journal.
    """
    from node.cli.tables import coloured, table
    from node.config.text import nearest
    from node.journal.states import JobState

    known = [s.value for s in JobState]
    if state is not None and state not in known:
        raise typer.BadParameter(f'no state "{state}"{nearest(state, known)}')
    journal = journal_of(config_of(config))
    rows = [job_json(r) for r in journal.jobs_in(*(() if state is None else (JobState(state),)))]
    noted = [event_json(e) for e in journal.schedule_events()]
    if as_json:
        say_json({"jobs": rows, "schedule": noted})
        return
    if rows:
        cells = [
            (str(r["job"]), r["since"], r["asked_by"], coloured(r["state"]), r["reason"])
            for r in rows
        ]
        say_table(table(("job", "since", "asked by", "state", "reason"), cells))
    for one in noted[:1]:
        say_line(
            f"schedule, {one['at']}: {one['event']} {one['detail'].get('reason', '')}".rstrip()
        )


@jobs_app.command()
def show(job: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell a job's story: what was asked, what happened, how the candidate compares.

    \b
    Examples:
      lumbar-node jobs show 3
      lumbar-node jobs show 3 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job.
    """
    from node.models.retraining import Place

    found = config_of(config)
    journal = journal_of(found)
    row, events = journal.job(job), [event_json(e) for e in journal.job_events(job)]
    place = Place.of(found.node.state, job)
    told = job_json(row) | {"folder": str(place.folder), "events": events, "outcome": row.outcome}
    if as_json:
        say_json(told)
        return
    say_line(f"job {row.id}: {row.state}{f' ({row.reason})' if row.reason else ''}")
    say_line(f"folder: {place.folder}")
    for name, value in told["plan"].items():
        say_line(f"  {name}: {value}")
    for one in events:
        say_line(
            f"{one['at']}  {one['event']} → {one['state']} {one['detail'].get('reason', '')}".rstrip()
        )
    _show_outcome(row.outcome)


def _show_outcome(outcome: dict[str, Any]) -> None:
    from node.cli.tables import table

    if not outcome:
        return
    for side in ("in_service", "candidate"):
        said = outcome[side]
        say_line(
            f"{side.replace('_', ' ')}: {said['name']} {said['version']} {said['digest'][:12]}"
        )
    keys = ("pairs", "in_service", "candidate", "difference", "p_worse")
    cells = [[r["structure"], *(_figure(r[k]) for k in keys)] for r in outcome.get("table", ())]
    heads = ("structure", "pairs", "in service", "candidate", "difference", "p (worse)")
    say_table(table(heads, cells))
    for line in (*outcome.get("reasons", ()), *outcome.get("notes", ())):
        say_line(f"  {line}")


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


@jobs_app.command()
def log(
    job: JobArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, at most.")] = 40,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the last lines of what a job's training said.

    \b
    Examples:
      lumbar-node jobs log 3
      lumbar-node jobs log 3 --lines 200

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job, or one that never started.

    \b
    Files: STATE/jobs/JOB/log
    """
    from node.errors import JobRefused
    from node.models.retraining import Place

    found = config_of(config)
    row = journal_of(found).job(job)
    place = Place.of(found.node.state, job)
    if not place.log.exists():
        raise JobRefused(f"job {job} has no log: it is {row.state} and was never started")
    told = place.tail()[-lines:]
    if as_json:
        say_json({"job": job, "log": str(place.log), "lines": told})
        return
    for line in told:
        say_line(line)


@jobs_app.command()
def cancel(
    job: JobArgument,
    by: ByOption = BY_HAND,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a queued or running job; its processes are ended at once, its folder stays.

    \b
    Examples:
      lumbar-node jobs cancel 3 --by "E. Miller"

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job, or it is over.
    """
    from node.errors import IllegalTransition, JobRefused
    from node.models import retraining as jobs

    found = config_of(config)
    journal = journal_of(found, writing=True)
    try:
        jobs.cancel(journal, found.node.state, job, by)
    except IllegalTransition as error:
        raise JobRefused(
            f"job {job} is {journal.job(job).state}; it cannot be cancelled"
        ) from error
    _say_job(journal.job(job), as_json=as_json)


@jobs_app.command()
def enqueue(
    by: ByOption = BY_HAND,
    job: Annotated[
        int | None,
        typer.Argument(help="A failed or cancelled job, to go on with.", metavar="[JOB]"),
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Folder of prepared cases.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="File of held-out cases.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe (TOML).")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enqueue a retraining, or again one that failed or was cancelled: it goes on from its checkpoint.

    What is not given comes from [training.schedule]. `serve` runs the queue, one job at a time.

    \b
    Examples:
      lumbar-node jobs enqueue
      lumbar-node jobs enqueue --cases cases --held-out held-out.json
      lumbar-node jobs enqueue 3 --by "E. Miller"

    \b
    Exit status: 0 enqueued, 2 configuration or no journal, 3 no such job, or nothing to enqueue.
    """
    from node.errors import IllegalTransition, JobRefused
    from node.journal.states import JobEvent

    found = config_of(config)
    journal = journal_of(found, writing=True)
    if job is None:
        row = journal.enqueue(_plan(found, cases, held_out, recipe), by)
    else:
        if any(x is not None for x in (cases, held_out, recipe)):
            complain(
                f"lumbar-node: job {job} goes on as it was asked for; the options are left aside"
            )
        try:
            journal.advance_job(job, JobEvent.ENQUEUED_AGAIN, detail={"by": by})
        except IllegalTransition as error:
            raise JobRefused(
                f"job {job} is {journal.job(job).state}; only a failed or cancelled one goes on"
            ) from error
        row = journal.job(job)
    _say_job(row, as_json=as_json)


def _plan(
    config: Config, cases: Path | None, held_out: Path | None, recipe: Path | None
) -> JobPlan:
    from node.models.schedule import plan_of

    given = {"data": cases, "held_out": held_out, "recipe": recipe}
    told = {k: str(v.resolve()) for k, v in given.items() if v is not None}
    return plan_of(config.training.schedule.model_copy(update=told))


def _say_job(row: JobRow, *, as_json: bool) -> None:
    if as_json:
        say_json(job_json(row))
    else:
        say_line(f"job {row.id}: {row.state}")


def job_json(row: JobRow) -> dict[str, Any]:
    """One job for programs; the cases are counted, not named."""
    from dataclasses import asdict

    from node.clock import at_text

    plan = asdict(row.plan)
    return {
        "job": row.id,
        "state": row.state,
        "since": at_text(row.state_at),
        "reason": row.reason,
        "asked_by": row.asked_by,
        "created": at_text(row.created_at),
        "starts": row.starts,
        "pid": row.pid if row.state == "running" else None,
        "plan": plan | {"cases": len(row.plan.cases)},
    }


def event_json(row: JobEventRow) -> dict[str, Any]:
    """One event for programs."""
    from node.clock import at_text

    return {"at": at_text(row.at), "event": row.event, "state": row.state, "detail": row.detail}
