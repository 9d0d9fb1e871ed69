"""`pull`: fetch a study from a PACS that routing missed; the running service does it, this command waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.options import ConfigOption, JsonOption, local_user, open_journal, read_config
from node.cli.output import leave_with, print_json, print_line, print_progress, warn

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.journal import Journal
    from node.journal.pulls import PullRow

LOOK_S: Final = 0.3
DONE, NOTHING, UNREACHABLE = 0, 3, 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull")(pull)


def pull(
    study: Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY_UID")],
    source: Annotated[
        str | None, typer.Option("--source", help="Only from this [[pull.source]]; default: all.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Queue it, also for a stopped node, and return.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch from a PACS what is missing of a study.

    The running service asks the source, compares with what came before, and fetches
    MR series that may be eligible. What it cannot get now it tries again; Ctrl+C
    ends the waiting, not the pull.

    \b
    Examples:
      lumbar-node pull 1.2.840.113619.2.1
      lumbar-node pull 1.2.840.113619.2.1 --source archive
      lumbar-node pull 1.2.840.113619.2.1 --no-wait

    \b
    Exit status: 0 everything is here, or queued, 2 usage, configuration or no
    running node, 3 the source has nothing more, 5 the source did not answer, or
    refused.
    """
    from node.pull.choose import is_uid
    from node.store.lock import is_running

    if not is_uid(study):
        raise typer.BadParameter(f'"{study[:64]}" is no UID; give the Study Instance UID')
    settings = read_config(config)
    names = _sources(settings, source)
    if not no_wait and not is_running(settings.node.state):
        warn(
            f"no node runs on {settings.node.state}; start `lumbar-node serve`, then ask again,"
            " or queue it for the next start with --no-wait"
        )
        leave_with(2)
    journal = open_journal(settings, writing=True)
    rows = [journal.pulls.ask(name, study, by=local_user()) for name in names]
    if not no_wait:
        rows = wait_for(journal, rows, lambda: is_running(settings.node.state), time.sleep)
    _show(rows, as_json=as_json)
    if no_wait:
        return
    if any(_is_tried(r) and not _ended(r) for r in rows):
        warn("the service tries again; `lumbar-node why STUDY_UID` shows the progress")
    elif not all(_is_tried(r) or _ended(r) for r in rows):
        warn("the node stopped; the pull continues at its next start")
    leave_with(exit_code(rows))


def _sources(config: Config, name: str | None) -> list[str]:
    """Return the names of the sources that are asked. Raises `UnknownSource`."""
    from node.config.words import nearest
    from node.errors import UnknownSource

    names = [s.name for s in config.pull.source]
    if not names:
        raise UnknownSource("no source is configured; describe the PACS as [[pull.source]]")
    if name is not None and name not in names:
        raise UnknownSource(f'no source "{name}"{nearest(name, names)}')
    return names if name is None else [name]


def wait_for(
    journal: Journal,
    asked: Sequence[PullRow],
    runs: Callable[[], bool],
    sleep: Callable[[float], None],
) -> list[PullRow]:
    """Wait until every pull ended or was tried once, or the node stops; returns the rows as they are then."""
    shown = ""
    while True:
        rows = [journal.pulls.find(r.source, r.study) or r for r in asked]
        if all(_ended(r) or _is_tried(r) for r in rows) or not runs():
            return rows
        text = ", ".join(
            f"{r.source}: {r.pulled + r.here} of {r.found or '?'} objects" for r in rows
        )
        if text != shown:
            print_progress(text)
            shown = text
        sleep(LOOK_S)


def _ended(row: PullRow) -> bool:
    from node.journal.pulls import PullState

    return row.state is not PullState.WAITING


def _is_tried(row: PullRow) -> bool:
    return row.tries > 0


def exit_code(rows: Sequence[PullRow]) -> int:
    """Return 0 where something came and nothing is missing, 5 where a source is in the way, else 3."""
    from node.journal.pulls import PullState

    states = {r.state for r in rows}
    if states & {PullState.WAITING, PullState.FAILED}:
        return UNREACHABLE
    return DONE if PullState.DONE in states else NOTHING


def _show(rows: Sequence[PullRow], *, as_json: bool) -> None:
    from node.observe.pulls import pull_json, pull_line

    entries = [pull_json(row) for row in rows]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        print_line(pull_line(entry))
