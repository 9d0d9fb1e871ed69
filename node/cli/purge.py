"""`purge`: remove files of series that are done, or of the quarantine; without `--yes` only say what would leave."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    known_state,
    local_user,
    moment,
    open_journal,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, print_progress, warn

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.journal import Journal
    from node.retention.request import Plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("purge")(purge)


def purge(
    uids: Annotated[
        list[str] | None,
        typer.Argument(help="UIDs of studies, series, instances or results.", metavar="UID"),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", help="Delivered and skipped series older than: 30d, 2026-01-31."
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help="With --older-than: series in this state instead."),
    ] = None,
    quarantine: Annotated[
        bool,
        typer.Option(
            "--quarantine", help="Quarantined objects; all, or with --older-than the old ones."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the files. Without it nothing is changed.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove files of series that are done, or of the quarantine.

    Without --yes, print what would leave, its size and the reason, and change nothing. Without UID
    or option, what [retention] would remove now. The journal keeps every row: list, why and the
    audit trail still know what was purged. Nothing that is still to be sent ever leaves.

    \b
    Examples:
      lumbar-node purge
      lumbar-node purge --older-than 90d
      lumbar-node purge --older-than 90d --yes
      lumbar-node purge 1.2.840.113619.2.1 --yes
      lumbar-node purge --quarantine --older-than 30d --yes

    \b
    Exit status: 0 something would leave or has left, 2 usage, configuration or no
    journal, 3 nothing to purge, or something that was named stays.
    """
    if uids and (older_than or state or quarantine):
        raise typer.BadParameter("name UIDs, or --older-than, or --quarantine")
    if state and (quarantine or not older_than):
        raise typer.BadParameter("--state is used with --older-than and without --quarantine")
    settings = read_config(config)
    before = moment(older_than, "--older-than")
    journal = open_journal(settings, writing=yes)
    plan = _plan(journal, settings, uids or [], before, state, quarantine=quarantine)
    purged = _carry_out(journal, settings, plan) if yes else 0
    if as_json:
        print_json(_json(plan, yes=yes))
    else:
        _print(plan, purged, yes=yes)
    for uid, reason in plan.staying:
        warn(f"series {uid} stays: {reason}")
    leave_with(3 if plan.is_empty or plan.staying else 0)


def _plan(
    journal: Journal,
    settings: Config,
    uids: list[str],
    before: float | None,
    state: str | None,
    *,
    quarantine: bool,
) -> Plan:
    from node.journal.states import SeriesState
    from node.retention import request

    if uids:
        return request.named(journal, uids)
    if quarantine:
        return request.quarantined(journal, before)
    if before is None:
        return request.by_limits(
            journal, settings.retention, _space(journal, settings), time.time()
        )
    known_state(state, [s.value for s in request.PURGED_BY_STATE])
    states = (SeriesState(state),) if state else (SeriesState.DELIVERED, SeriesState.SKIPPED)
    return request.older(journal, before, states)


def _space(journal: Journal, settings: Config) -> Any:
    import shutil

    from node.retention.plan import Space
    from node.store.layout import StateDirectory
    from node.store.sizes import folder_bytes

    results = folder_bytes(StateDirectory(settings.node.state).results)
    free = shutil.disk_usage(settings.node.state).free
    return Space(journal.purges.kept_bytes() + results, free)


def _carry_out(journal: Journal, settings: Config, plan: Plan) -> int:
    """Purge, and return how many series and groups were."""
    from node.errors import IllegalTransition
    from node.retention.purge import Purger, purging

    purger, done = Purger(journal, local_user()), 0
    with purging(settings.node.state):
        purger.finish()
        for chosen in plan.series:
            try:
                purger.series(chosen.series, chosen.reason)
            except IllegalTransition as error:
                warn(str(error))
                continue
            done += 1
            print_progress(f"{done} of {len(plan.series)} series purged")
        for objects, reason in plan.quarantine:
            purger.quarantined(objects, reason)
    return done


def _print(plan: Plan, purged: int, *, yes: bool) -> None:
    what = "purged" if yes else "would leave"
    for chosen in plan.series:
        series = chosen.series
        print_line(
            f"{series.key.series or 'without a UID'}  {series.objects} objects, {_size(chosen.bytes)}: {chosen.reason}"
        )
    for objects, reason in plan.quarantine:
        size = _size(sum(o.bytes for o in objects))
        print_line(f"quarantine  {len(objects)} objects, {size}: {reason}")
    if plan.is_empty:
        print_line("nothing to purge")
        return
    series_count = purged if yes else len(plan.series)
    objects_count = sum(len(objects) for objects, _ in plan.quarantine)
    counted = f"{series_count} series" if plan.series else f"{objects_count} quarantined objects"
    if plan.series and objects_count:
        counted += f" and {objects_count} quarantined objects"
    remedy = "" if yes else "; --yes removes them"
    print_line(f"{counted}, {_size(plan.bytes)} {what}{remedy}")


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _json(plan: Plan, *, yes: bool) -> dict[str, Any]:
    return {
        "purged": yes,
        "bytes": plan.bytes,
        "series": [
            {
                "study": c.series.key.study, "series": c.series.key.series, "state": str(c.series.state),
                "objects": c.series.objects, "bytes": c.bytes, "reason": c.reason,
            }
            for c in plan.series
        ],
        "quarantine": [
            {"objects": len(objects), "bytes": sum(o.bytes for o in objects), "reason": reason}
            for objects, reason in plan.quarantine
        ],
        "staying": [{"uid": uid, "reason": reason} for uid, reason in plan.staying],
    }  # fmt: skip
