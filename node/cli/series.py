"""`list`, `why` and `retry`: what the journal holds of every series."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.cli.options import (
    ConfigOption,
    ForceOption,
    JsonOption,
    check_destination,
    known_state,
    local_user,
    moment,
    open_journal,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, print_table, warn

if TYPE_CHECKING:
    from node.journal.journal import Journal
    from node.journal.rows import SeriesKey

LIMIT: Final = 50
"""Series that `list` shows to people without `--limit`; programs get all."""

IdentifierArgument = Annotated[
    str,
    typer.Argument(
        help="UID of a study, series, instance or result; an accession number or patient id.",
        metavar="ID",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_series)
    app.command("why")(why)
    app.command("retry")(retry)


# ---- list ----------------------------------------------------------------------------------------


def list_series(
    config: ConfigOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only series in this state.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Only series received since: 12h, 7d, 2026-01-31."),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--sender", help="Only series from this AE title.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help=f"Number of series; default: {LIMIT}, with --json all."
        ),
    ] = None,
    identity: Annotated[
        bool,
        typer.Option(
            "--identity", help="Also show patient id and accession number (personal data)."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List series, newest first, with state and reason.

    --state quarantined and superseded also list series with such objects.

    \b
    Examples:
      lumbar-node list
      lumbar-node list --state incomplete --since 7d
      lumbar-node list --sender MR1 --identity --json

    \b
    Exit status: 0, 2 configuration, unknown state or no journal.
    """
    from node.journal.overview import SeriesFilter
    from node.journal.states import SeriesState
    from node.observe.series_list import list_series as listing

    known_state(state, [s.value for s in SeriesState])
    wanted = SeriesFilter(SeriesState(state) if state else None, moment(since), sender)
    shown = limit if as_json else limit or LIMIT
    settings = read_config(config)
    journal, viewer = open_journal(settings), settings.results.viewer
    series = listing(journal, wanted, shown, identity=identity, viewer=viewer)
    if as_json:
        print_json(series.rows)
        return
    _print_rows(series.rows)
    if not series.rows:
        print_line("no series" if wanted == SeriesFilter() else "no such series")
    elif series.total > len(series.rows):
        hidden = series.total - len(series.rows)
        print_line(f"{hidden} older series; --limit {series.total} shows all")


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print lines on a terminal; elsewhere a table with one line per series."""
    from node.observe.explain import reason_text
    from node.observe.series_list import list_lines

    if sys.stdout.isatty():
        for row in rows:
            for line in list_lines(row):
                print_line(line)
    elif rows:
        from node.cli.tables import Table

        named: tuple[str, ...] = (
            ("patient_id", "accession_number") if "patient_id" in rows[0] else ()
        )
        named += ("link",) if any(row["link"] for row in rows) else ()
        heads = (
            "received",
            "state",
            "objects",
            "acquired",
            "description",
            *named,
            "series",
            "reason",
        )
        cells = [
            (
                row["last_slice"], row["state"], str(row["instances"]), row["acquired"] or "", row["description"],
                *(row[name] or "" for name in named), row["series"] or "without a UID", reason_text(row),
            )
            for row in rows
        ]  # fmt: skip
        print_table(Table(heads, cells))


# ---- why -----------------------------------------------------------------------------------------


def why(
    identifier: IdentifierArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Explain what happened to a series and what happens next.

    Of a study, an instance or a result, every series is explained. Several series of an accession
    number or patient id are listed, to choose one.

    \b
    Examples:
      lumbar-node why 1.2.840.113619.2.1
      lumbar-node why 26-004711 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 unknown identifier.
    """
    from node.errors import UnknownUid
    from node.journal.overview import SeriesFilter
    from node.observe.explain import why as explain
    from node.observe.explain import why_lines, why_series
    from node.observe.identity_index import IdentityKey
    from node.observe.series_list import MAX_SEARCHED, find_by_identity, list_rows
    from node.store.layout import StateDirectory

    settings = read_config(config)
    journal, viewer = open_journal(settings), settings.results.viewer
    try:
        explained = explain(journal, identifier, viewer)
    except UnknownUid:
        if _explain_pulls(journal, identifier, as_json=as_json):
            return
        key = IdentityKey.read(StateDirectory(settings.node.state).identity_key)
        rows = find_by_identity(journal, identifier, key)
        if not rows:
            if key is None and journal.overview.count(SeriesFilter()) > MAX_SEARCHED:
                warn(f"headers of the newest {MAX_SEARCHED} series were searched")
            raise
        if len(rows) > 1 and not as_json:
            print_line(f"{len(rows)} series; choose one: `lumbar-node why SERIES`")
            _print_rows(list_rows(journal, rows, viewer=viewer))
            return
        explained = why_series(journal, rows, viewer)
    if as_json:
        print_json(explained)
        return
    for series in explained:
        for line in why_lines(series):
            print_line(line)


def _explain_pulls(journal: Journal, study: str, *, as_json: bool) -> bool:
    """Print what became of the pulls of a study of which nothing came; False if it was never asked for."""
    from node.observe.pulls import pull_line, pulls_json

    pulls = pulls_json(journal, study)
    if pulls and as_json:
        print_json([{"study": study, "series": None, "pulls": pulls}])
    elif pulls:
        print_line(f"study {study}: nothing of it is here")
        for entry in pulls:
            print_line(f"  {pull_line(entry)}")
    return bool(pulls)


# ---- retry ---------------------------------------------------------------------------------------


def retry(
    uids: Annotated[
        list[str] | None,
        typer.Argument(help="UIDs of studies, series, instances or results.", metavar="UID"),
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option("--destination", help="Only deliveries to this destination."),
    ] = None,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="Every failed delivery.")
    ] = False,
    all_dead: Annotated[bool, typer.Option("--all-dead", hidden=True)] = False,
    force: ForceOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry failed deliveries, or reprocess series.

    Failed deliveries are sent again; if there are none, the series is re-evaluated and reprocessed.
    With --destination or --all-failed, only deliveries are retried: failed ones
    are sent again, waiting ones do not wait longer.

    \b
    Examples:
      lumbar-node retry 1.2.840.113619.2.1
      lumbar-node retry 1.2.840.113619.2.1 --force
      lumbar-node retry --destination pacs
      lumbar-node retry --all-failed

    \b
    Exit status: 0, 2 usage, configuration or no journal, 3 unknown UID or
    nothing to retry.
    """
    every = all_failed or all_dead
    if bool(uids) == every and (uids or destination is None):
        raise typer.BadParameter("name UIDs, or --destination, or --all-failed")
    deliveries_only = every or destination is not None
    if force and deliveries_only:
        raise typer.BadParameter("--force makes new results; use it with UIDs only")
    settings = read_config(config)
    if destination is not None:
        check_destination(settings, destination)
    journal = open_journal(settings, writing=True)
    keys, code = _retry(
        journal, uids or (), destination, deliveries_only=deliveries_only, force=force
    )
    if as_json:
        print_json([{"study": key.study, "series": key.series} for key in keys])
    else:
        what = "delivery queued again" if deliveries_only else "queued again"
        for key in keys:
            print_line(f"series {key.series}: {what}")
    leave_with(code)


def _retry(
    journal: Journal,
    uids: Sequence[str],
    destination: str | None,
    *,
    deliveries_only: bool,
    force: bool,
) -> tuple[list[SeriesKey], int]:
    """Retry and return the series and the exit code; what cannot be retried is a warning."""
    from node.errors import IllegalTransition, UnknownUid

    keys: list[SeriesKey] = []
    code = 0
    for uid in uids or (None,):
        try:
            if uid is not None and not deliveries_only:
                keys += journal.request_retry(uid, force=force, by=local_user())
                continue
            retried = journal.retry_deliveries(destination, uid, local_user())
        except (UnknownUid, IllegalTransition) as error:
            warn(str(error))
            code = 3
            continue
        if not retried:
            to = "" if destination is None else f" to {destination}"
            warn(f"{'' if uid is None else f'{uid}: '}no failed or waiting delivery{to}")
            code = 3
        keys += retried
    return keys, code
