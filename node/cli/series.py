"""`list`, `why`, `status` and `retry`: what the journal holds of every series."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.options import (
    ConfigOption,
    ForceOption,
    JsonOption,
    known_state,
    open_journal,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, print_table, warn

UidArgument = Annotated[
    str, typer.Argument(help="Study, series, instance or result.", metavar="UID")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status)
    app.command("list")(list_series)
    app.command("why")(why)
    app.command("retry")(retry)


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show series and delivery counts by state, and anything that needs attention.

    \b
    Examples:
      lumbar-node status
      lumbar-node status --json

    \b
    Exit status: 0, 2 configuration or no journal.
    """
    import shutil
    from dataclasses import asdict

    from node.observe.attention import attention, matter_lines

    settings = read_config(config)
    journal = open_journal(settings)
    counts, matters = journal.counts(), attention(journal)
    payload = {
        "node": settings.node.name,
        "ae_title": settings.node.ae_title,
        "state": str(settings.node.state),
        "disk_free_mb": shutil.disk_usage(settings.node.state).free // 1_000_000,
        "counts": counts,
        "attention": [asdict(m) for m in matters],
    }
    if as_json:
        print_json(payload)
        return
    print_line(f"{payload['node']} ({payload['ae_title']}), state in {payload['state']}")
    print_line(f"free disk space: {payload['disk_free_mb']} MB")
    for name, count in sorted(counts.items()):
        print_line(f"  {count:6d}  {name if '.' in name else f'series.{name}'}")
    for line in matter_lines(matters):
        print_line(f"  {line}")


def list_series(
    config: ConfigOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only series in this state.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List every series with its state and the reason for it.

    --state quarantined and superseded also list series with such objects.

    \b
    Examples:
      lumbar-node list
      lumbar-node list --state incomplete --json

    \b
    Exit status: 0, 2 configuration, unknown state or no journal.
    """
    from node.cli.tables import UID_COLUMN, coloured, table
    from node.journal.states import SeriesState
    from node.observe.explain import list_rows, reason_text

    known_state(state, [s.value for s in SeriesState])
    rows = list_rows(open_journal(read_config(config)), state)
    if as_json:
        print_json(rows)
    elif rows:
        cells = [
            (coloured(r["state"]), r["since"], str(r["instances"]), r["series"] or "without a UID", reason_text(r))
            for r in rows
        ]  # fmt: skip
        print_table(table(("state", "since", "objects", UID_COLUMN, "reason"), cells))


def why(uid: UidArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Explain what happened to a study, series, instance or result, and what happens next.

    \b
    Examples:
      lumbar-node why 1.2.840.113619.2.1
      lumbar-node why 1.2.840.113619.2.1 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 unknown UID.
    """
    from node.observe import explain

    rows = explain.why(open_journal(read_config(config)), uid)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        for line in explain.why_lines(row):
            print_line(line)


def retry(
    uids: Annotated[
        list[str], typer.Argument(help="Studies, series, instances or results.", metavar="UID")
    ],
    force: ForceOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry failed deliveries; if there are none, re-evaluate and reprocess the series.

    \b
    Examples:
      lumbar-node retry 1.2.840.113619.2.1
      lumbar-node retry 1.2.840.113619.2.1 --force

    \b
    Exit status: 0, 2 configuration or no journal, 3 unknown UID or nothing to retry.
    """
    from node.errors import IllegalTransition, UnknownUid

    journal = open_journal(read_config(config), writing=True)
    moved: list[dict[str, str]] = []
    code = 0
    for uid in uids:
        try:
            keys = journal.request_retry(uid, force=force)
            moved += [{"study": key.study, "series": key.series} for key in keys]
        except (UnknownUid, IllegalTransition) as error:
            warn(str(error))
            code = 3
    if as_json:
        print_json(moved)
    else:
        for key in moved:
            print_line(f"series {key['series']}: queued again")
    leave_with(code)
