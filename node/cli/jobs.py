"""`lumbar-node jobs`: the retraining jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    command_group,
    known_state,
    open_journal,
    read_config,
)
from node.cli.output import print_json, print_line, print_table, warn

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.job_rows import JobEventRow, JobPlan, JobRow

JobArgument = Annotated[int, typer.Argument(help="Number of the job.", metavar="JOB")]
ByOption = Annotated[
    str, typer.Option("--by", help="Name of the person requesting this; recorded in the journal.")
]
MANUAL: Final = "manual"
"""Requester of a job that was enqueued without `--by`."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Retraining jobs.")
    group.command("list")(list_jobs)
    group.command("show")(show)
    group.command("log")(log)
    group.command("cancel")(cancel)
    group.command("enqueue")(enqueue)
    app.add_typer(group, name="jobs")


def list_jobs(
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs and the last event of the schedule.

    \b
    Examples:
      lumbar-node jobs list
      lumbar-node jobs list --state proposed --json

    \b
    Exit status: 0, 2 configuration, unknown state or no journal.
    """
    from node.cli.tables import Table
    from node.journal.states import JobState

    known_state(state, [s.value for s in JobState])
    journal = open_journal(read_config(config))
    rows = [
        job_json(r) for r in journal.jobs.in_states(*(() if state is None else (JobState(state),)))
    ]
    schedule = [event_json(e) for e in journal.jobs.schedule_events()]
    if as_json:
        print_json({"jobs": rows, "schedule": schedule})
        return
    if rows:
        cells = [(str(r["job"]), r["since"], r["asked_by"], r["state"], r["reason"]) for r in rows]
        print_table(Table(("job", "since", "asked by", "state", "reason"), cells))
    else:
        print_line("no jobs" if state is None else f"no jobs in state {state}")
    for event in schedule[:1]:
        reason = event["detail"].get("reason", "")
        print_line(f"schedule, {event['at']}: {event['event']} {reason}".rstrip())


def show(job: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show request, history and comparison of a job.

    The candidate is compared with the model in service.

    \b
    Examples:
      lumbar-node jobs show 3
      lumbar-node jobs show 3 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job.
    """
    from node.cli.job_outcome import show_outcome
    from node.models.retraining import JobDirectory

    settings = read_config(config)
    journal = open_journal(settings)
    row, events = journal.jobs.get(job), [event_json(e) for e in journal.jobs.events(job)]
    place = JobDirectory.of(settings.node.state, job)
    payload = job_json(row) | {
        "folder": str(place.folder),
        "events": events,
        "outcome": row.outcome,
    }
    if as_json:
        print_json(payload)
        return
    print_line(f"job {row.id}: {row.state}{f' ({row.reason})' if row.reason else ''}")
    print_line(f"folder: {place.folder}")
    for name, value in payload["plan"].items():
        print_line(f"  {name}: {value}")
    for event in events:
        reason = event["detail"].get("reason", "")
        print_line(f"{event['at']}  {event['event']} → {event['state']} {reason}".rstrip())
    show_outcome(row.outcome)


def log(
    job: JobArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Number of lines.")] = 40,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the tail of a job's log.

    \b
    Examples:
      lumbar-node jobs log 3
      lumbar-node jobs log 3 --lines 200

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job, or it
    never started.

    \b
    Files: STATE/jobs/JOB/log
    """
    from node.errors import JobStateError
    from node.models.retraining import JobDirectory

    settings = read_config(config)
    row = open_journal(settings).jobs.get(job)
    place = JobDirectory.of(settings.node.state, job)
    if not place.log.exists():
        raise JobStateError(f"job {job} has no log: it is {row.state} and was never started")
    tail = place.tail()[-lines:]
    if as_json:
        print_json({"job": job, "log": str(place.log), "lines": tail})
        return
    for line in tail:
        print_line(line)


def cancel(
    job: JobArgument,
    by: ByOption = MANUAL,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a queued or running job.

    Its processes are ended at once; its folder is kept.

    \b
    Examples:
      lumbar-node jobs cancel 3 --by "E. Miller"

    \b
    Exit status: 0, 2 configuration or no journal, 3 no such job, or it has ended.
    """
    from node.errors import IllegalTransition, JobStateError
    from node.models import retraining as jobs

    settings = read_config(config)
    journal = open_journal(settings, writing=True)
    try:
        jobs.cancel(journal, settings.node.state, job, by)
    except IllegalTransition as error:
        raise JobStateError(
            f"job {job} is {journal.jobs.get(job).state}; it cannot be cancelled"
        ) from error
    _print_job(journal.jobs.get(job), as_json=as_json)


def enqueue(
    by: ByOption = MANUAL,
    job: Annotated[
        int | None,
        typer.Argument(help="A failed or cancelled job to resume.", metavar="JOB"),
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Folder of prepared cases.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="File of held-out cases.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe (TOML).")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enqueue a retraining, or resume one from its checkpoint.

    A failed or cancelled job can be resumed. Options that are absent come from [training.schedule]. `serve` runs the queue, one job at a
    time.

    \b
    Examples:
      lumbar-node jobs enqueue
      lumbar-node jobs enqueue --cases cases --held-out held-out.json
      lumbar-node jobs enqueue 3 --by "E. Miller"

    \b
    Exit status: 0 enqueued, 2 configuration or no journal, 3 no such job, or
    nothing to enqueue.
    """
    from node.errors import IllegalTransition, JobStateError
    from node.journal.states import JobEvent

    settings = read_config(config)
    journal = open_journal(settings, writing=True)
    if job is None:
        row = journal.jobs.enqueue(_plan(settings, cases, held_out, recipe), by)
    else:
        if any(x is not None for x in (cases, held_out, recipe)):
            warn(f"job {job} resumes with its original settings; the given options are ignored")
        try:
            journal.jobs.advance(job, JobEvent.ENQUEUED_AGAIN, detail={"by": by})
        except IllegalTransition as error:
            raise JobStateError(
                f"job {job} is {journal.jobs.get(job).state}; only a failed or cancelled job can be resumed"
            ) from error
        row = journal.jobs.get(job)
    _print_job(row, as_json=as_json)


def _plan(
    config: Config, cases: Path | None, held_out: Path | None, recipe: Path | None
) -> JobPlan:
    from node.models.plan import build_plan

    options = {"data": cases, "held_out": held_out, "recipe": recipe}
    changes = {k: str(v.resolve()) for k, v in options.items() if v is not None}
    return build_plan(config.training.schedule.model_copy(update=changes))


def _print_job(row: JobRow, *, as_json: bool) -> None:
    if as_json:
        print_json(job_json(row))
    else:
        print_line(f"job {row.id}: {row.state}")


def job_json(row: JobRow) -> dict[str, Any]:
    """Return one job for programs; the cases are counted, not named."""
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
    """Return one event for programs."""
    from node.clock import at_text

    return {"at": at_text(row.at), "event": row.event, "state": row.state, "detail": row.detail}
