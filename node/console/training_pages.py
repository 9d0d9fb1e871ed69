"""The pages about training: jobs, one job with its curves, and the trainings that were started manually.

What a run folder holds is untrusted: a file that cannot be read is one sentence in the place of what it would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from node.clock import at_text
from node.config.cron import trigger_of
from node.console.console import Asked, Console, Visitor
from node.console.plots import Line, curve_plot
from node.console.training_parts import (  # fmt: skip
    FEWEST,
    job_of,
    measurements_table,
    scores_table,
    structure_name,
)
from node.console.words import moment
from node.errors import UnknownUid
from node.journal.job_rows import JobEventRow, JobRow
from node.journal.states import JobState
from node.models.comparison import measurement_rows, table_rows
from node.models.curves import Curve, thinned
from node.models.retraining import COMPARISON, JobDirectory
from node.models.run_files import tail_lines
from node.models.run_folders import (  # fmt: skip
    Run,
    is_crossval,
    read_folds,
    read_run,
    run_folders,
    scores_by_structure,
)
from node.observe.node_status import model_in_service

MOST_JOBS: Final = 50
MOST_POINTS: Final = 300
MOST_ROWS: Final = 20
LOG_LINES: Final = 30
LONGEST_LINE: Final = 300
LOG_BYTES: Final = 20_000
RUN: Final = "run"
_OPEN_REASONS: Final = frozenset({JobState.REJECTED, JobState.CANCELLED, JobState.QUEUED})
"""States whose reason names structures or people; others may name a case, and so a patient."""


def training_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return the model in service, the schedule, the jobs and the trainings that were started manually."""
    journal = console.journal
    jobs = sorted(journal.jobs.in_states(), key=lambda row: -row.id)
    newest = journal.promotions.newest()
    return {
        "model": model_in_service(console.config, journal, console.bundle),
        "seen": 0 if newest is None else newest.id,
        "may_return": newest is not None and newest.folder is not None,
        "schedule": _schedule(console),
        "jobs": [_job(console, asked.visitor, row) for row in jobs[:MOST_JOBS]],
        "hidden": max(0, len(jobs) - MOST_JOBS),
        "runs": _runs(console.config.training.runs),
    }


def _schedule(console: Console) -> dict[str, Any]:
    cron = console.config.training.schedule.cron
    now = datetime.fromtimestamp(console.wall(), UTC)
    due = trigger_of(cron).get_next_fire_time(None, now) if cron else None
    last = console.journal.jobs.schedule_events(1)
    return {
        "cron": cron,
        "next": due.isoformat() if due is not None else "",
        "minimum": console.config.training.schedule.minimum_new_cases,
        "last": {"at": at_text(last[0].at), "event": last[0].event.replace("_", " "), "reason": str(last[0].detail.get("reason", ""))} if last else None,
    }  # fmt: skip


def _job(console: Console, visitor: Visitor, row: JobRow) -> dict[str, Any]:
    """Return one job; its last line of the log while it runs or where it failed, for who may see cases."""
    lines: list[str] = []
    if visitor.role.sees_patients and row.state in {JobState.RUNNING, JobState.FAILED}:
        lines = _log(console, row)
    return {
        "row": row,
        "since": moment(row.state_at),
        "reason": _reason(visitor, row),
        "exit": _exit(console.journal.jobs.events(row.id)),
        "line": lines[-1] if lines else "",
    }


def _reason(visitor: Visitor, row: JobRow) -> str:
    if visitor.role.sees_patients or row.state in _OPEN_REASONS or not row.reason:
        return row.reason
    return "the reason is for physicians and operators: it may name a case"


def _exit(events: Sequence[JobEventRow]) -> str:
    """Return how the last process of a job ended; "" where that was not seen, or it runs."""
    last = events[-1].detail if events else {}
    code = last.get("exit_code")
    if not isinstance(code, int):
        return ""
    return f"signal {-code}" if code < 0 else f"code {code}"


def _log(console: Console, row: JobRow) -> list[str]:
    place = JobDirectory.of(console.config.node.state, row.id)
    return [line[:LONGEST_LINE] for line in tail_lines(place.log, LOG_BYTES)]


def _runs(place: str) -> list[dict[str, Any]]:
    found = []
    for folder in run_folders(place):
        folds = read_folds(folder)
        run = read_run(folder) if not folds else None
        found.append({
            "name": folder.name,
            "kind": "cross-validation" if folds else "training",
            "progress": f"{sum(f.finished for f in folds)} of {len(folds)} folds finished" if run is None
            else _progress(run),
        })  # fmt: skip
    return found


def _progress(run: Run) -> str:
    return f"step {run.step}" + (f" of {run.steps}" if run.steps else "")


# ---- one job ---------------------------------------------------------------------------------------


def job_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return state, curves, verdict, history and the log's last lines of a job. Raises `UnknownJob`."""
    row, sees = job_of(console, asked), asked.visitor.role.sees_patients
    directory = JobDirectory.of(console.config.node.state, row.id)
    run = read_run(directory.out / RUN)
    events = console.journal.jobs.events(row.id)
    return {
        **_job(console, asked.visitor, row),
        "log": _log(console, row)[-LOG_LINES:] if sees else None,
        "curves": curves(run),
        "progress": _progress(run),
        "faults": run.faults if row.starts else (),
        "events": [_event(sees, e) for e in events],
        "plan": _plan(row) if sees else None,
        "rows": scores_table(table_rows(row.outcome.get("table"))),
        "errors": measurements_table(
            measurement_rows(row.outcome.get("measurements")), fewest=0 if sees else FEWEST
        ),
        "has_proposal": bool(row.outcome) or (directory.out / COMPARISON).exists(),
    }


def _event(sees: bool, event: JobEventRow) -> dict[str, str]:
    detail = event.detail
    what = detail.get("reason") or (detail.get("by") and f"by {detail['by']}") or ""
    shown = sees or event.state in _OPEN_REASONS or not what
    return {
        "at": at_text(event.at),
        "event": event.event.replace("_", " "),
        "state": event.state,
        "what": str(what) if shown else "for physicians and operators",
        "exit": _exit([event]),
    }


def _plan(row: JobRow) -> list[tuple[str, str]]:
    plan = row.plan
    values = {
        "Cases": f"{plan.data} ({len(plan.cases)})", "Held-out cases": plan.held_out, "Recipe": plan.recipe or "default",
        "Starts from": plan.bundle or "the model in service", "Margin": f"{plan.margin:g} Dice",
        "Time limit": f"{plan.max_hours:g} hours",
    }  # fmt: skip
    return list(values.items())


def curves(run: Run) -> dict[str, Any]:
    """Return the plots of a training's curve, its last values as rows, and notes on the file."""
    curve = run.curve
    checked = [p for p in curve.points if p.dice]
    loss = [
        Line("training", [(p.step, p.loss) for p in thinned(curve.points, MOST_POINTS) if p.loss is not None]),
        Line("validation", [(p.step, p.validation_loss) for p in thinned(checked, MOST_POINTS) if p.validation_loss is not None]),
    ]  # fmt: skip
    dice = [
        Line("mean", [(p.step, p.mean_dice) for p in thinned(checked, MOST_POINTS) if p.mean_dice is not None]),
        Line("lowest", [(p.step, p.lowest[1]) for p in thinned(checked, MOST_POINTS) if p.lowest is not None]),
    ]  # fmt: skip
    return {
        "plots": [
            curve_plot("Loss", loss, run.steps),
            curve_plot("Dice of validation cases", dice, run.steps, most=1.0),
        ] if curve.points else [],
        "rows": _rows(curve),
        "last": checked[-1] if checked else None,
        "notes": [
            *([f"{curve.unread} lines of the curve cannot be read and are left out"] if curve.unread else []),
            *(["the beginning of a very long curve is left out"] if curve.cut else []),
        ],
    }  # fmt: skip


def _rows(curve: Curve) -> list[tuple[str, str, str, str]]:
    """Return the newest reports as texts: step, loss, validation loss, mean Dice."""
    return [
        (str(p.step), _figure(p.loss), _figure(p.validation_loss), _figure(p.mean_dice))
        for p in thinned(curve.points, MOST_ROWS)[::-1]
    ] if curve.points else []  # fmt: skip


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


# ---- manually started ---------------------------------------------------------------------------------------


def run_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return a training, or the folds of a cross-validation. Raises `UnknownUid`."""
    folder = _folder(console.config.training.runs, asked.path["name"])
    folds = read_folds(folder) if is_crossval(folder) else []
    run = read_run(folder) if not folds else None
    return {
        "name": folder.name,
        "run": None if run is None else {"curves": curves(run), "progress": _progress(run), "faults": run.faults},
        "folds": [
            {
                "number": f.number, "finished": f.finished, "cases": len(f.cases), "step": f.step,
                "dice": f.validation_dice, "progress": _progress(f.run), "curves": curves(f.run),
                "faults": (*f.faults, *f.run.faults),
            }
            for f in folds
        ],
        "scores": [
            {
                "structure": structure_name(s.structure), "folds": [_mean(f) for f in s.folds], "together": _mean(s.together), "n": s.n,
            }
            for s in scores_by_structure(folds)
        ],
    }  # fmt: skip


def _mean(found: tuple[float, float] | None) -> str:
    if found is None:
        return "–"
    mean, sd = found
    return f"{mean:.3f}" if sd != sd else f"{mean:.3f} ± {sd:.3f}"  # noqa: PLR0124 - nan is not itself


def _folder(place: str, name: str) -> Path:
    found = next((p for p in run_folders(place) if p.name == name), None)
    if found is None:
        raise UnknownUid("no such training")
    return found
