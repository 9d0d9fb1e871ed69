"""Commands about the running service: `serve`, `demo`, and the journal's view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    CONFIG_FILE,
    ConfigOption,
    JsonOption,
    complain,
    config_of,
    leave_with,
    say_json,
    say_line,
    say_progress,
    say_table,
)

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.journal import Journal

app = typer.Typer(rich_markup_mode=None)

UidArgument = Annotated[str, typer.Argument(help="Study, series, instance or result.")]


def journal_of(config: Config, *, writing: bool = False) -> Journal:
    """Open the configured state's journal as it is. Raises `StateRefused` when there is none."""
    from node.journal.journal import Journal

    opened = Journal.writing if writing else Journal.reading
    return opened(config.node.state / "journal.sqlite", time.time)


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the service until SIGTERM or Ctrl+C.

    \b
    Examples:
      lumbar-node serve
      lumbar-node serve --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 stopped in order, 2 configuration, port or state folder, 6 model or bundle.

    \b
    Files, under [node] state: spool/, results/, quarantine/, journal.sqlite
    """
    from node.service import service as supervise

    found = config_of(config)
    leave_with(supervise.serve(found, (config or CONFIG_FILE).resolve()))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers up at the end.")] = False,
    patients: Annotated[int, typer.Option("--patients", help="Patients with results.")] = 3,
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("demo-out"),
    no_servers: Annotated[
        bool, typer.Option("--no-servers", help="A plain folder instead of a PACS.")
    ] = False,
) -> None:
    """Send synthetic studies through a real PACS and this node, and compare with the truth.

    \b
    Examples:
      lumbar-node demo
      lumbar-node demo --keep --patients 2

    \b
    Exit status: 0 every step went as it should, else the code of the step that did not.
    """
    from node.demo import run

    leave_with(run.main(keep=keep, patients=patients, out=out, no_servers=no_servers))


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how many series and deliveries are in which state, and what needs a person.

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

    found = config_of(config)
    journal = journal_of(found)
    counts, matters = journal.counts(), attention(journal)
    told = {
        "node": found.node.name,
        "ae_title": found.node.ae_title,
        "state": str(found.node.state),
        "disk_free_mb": shutil.disk_usage(found.node.state).free // 1_000_000,
        "counts": counts,
        "attention": [asdict(m) for m in matters],
    }
    if as_json:
        say_json(told)
        return
    say_line(f"{told['node']} ({told['ae_title']}), state in {told['state']}")
    say_line(f"free disk space: {told['disk_free_mb']} MB")
    for name, count in sorted(counts.items()):
        say_line(f"  {count:6d}  {name if '.' in name else f'series.{name}'}")
    for line in matter_lines(matters):
        say_line(f"  {line}")


@app.command("list")
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
    from node.config.text import nearest
    from node.journal.states import SeriesState
    from node.observe.explain import list_rows, reason_text

    known = [s.value for s in SeriesState]
    if state is not None and state not in known:
        raise typer.BadParameter(f'no state "{state}"{nearest(state, known)}')
    rows = list_rows(journal_of(config_of(config)), state)
    if as_json:
        say_json(rows)
    elif rows:
        cells = [
            (coloured(r["state"]), r["since"], str(r["instances"]), r["series"] or "without a UID", reason_text(r))
            for r in rows
        ]  # fmt: skip
        say_table(table(("state", "since", "objects", UID_COLUMN, "reason"), cells))


@app.command()
def why(uid: UidArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell the whole story of a study, series, instance or result, and what comes next.

    \b
    Examples:
      lumbar-node why 1.2.840.113619.2.1
      lumbar-node why 1.2.840.113619.2.1 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 unknown UID.
    """
    from node.observe import explain

    told = explain.why(journal_of(config_of(config)), uid)
    if as_json:
        say_json(told)
        return
    for one in told:
        for line in explain.why_lines(one):
            say_line(line)


@app.command()
def retry(
    uids: Annotated[list[str], typer.Argument(help="Studies, series, instances or results.")],
    force: Annotated[
        bool, typer.Option("--force", help="Make a new result that names its predecessor.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead deliveries again; else judge and process the series again.

    \b
    Examples:
      lumbar-node retry 1.2.840.113619.2.1
      lumbar-node retry 1.2.840.113619.2.1 --force

    \b
    Exit status: 0, 2 configuration or no journal, 3 unknown UID or nothing to retry.
    """
    from node.errors import IllegalTransition, UnknownUid

    journal = journal_of(config_of(config), writing=True)
    moved: list[dict[str, str]] = []
    code = 0
    for uid in uids:
        try:
            keys = journal.request_retry(uid, force=force)
            moved += [{"study": key.study, "series": key.series} for key in keys]
        except (UnknownUid, IllegalTransition) as error:
            complain(f"lumbar-node: {error}")
            code = 3
    if as_json:
        say_json(moved)
    else:
        for one in moved:
            say_line(f"series {one['series']}: again")
    leave_with(code)


@app.command()
def doctor(
    config: ConfigOption = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Make the journal of a stopped node new from spool and results."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes only, not the digest of every file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the journal with what lies on disk, and tell what needs a person.

    Reads every file once; changes nothing without --rebuild.

    \b
    Examples:
      lumbar-node doctor
      lumbar-node doctor --quick --json
      lumbar-node doctor --rebuild

    \b
    Exit status: 0 all in order, 1 something to look at, 2 configuration, no or a damaged journal.
    """
    from dataclasses import asdict

    from node.observe.doctor import Check, examine, finding_lines

    found = config_of(config)
    if rebuild:
        _rebuild(found, as_json=as_json)
        return
    findings = examine(journal_of(found), Check(found.node.state, quick, say_progress))
    if as_json:
        say_json([asdict(f) for f in findings])
    else:
        for line in finding_lines(findings) or ["journal and disk agree"]:
            say_line(line)
    leave_with(1 if findings else 0)


def _rebuild(config: Config, *, as_json: bool) -> None:
    from dataclasses import asdict

    from node.receive.rebuild import rebuild, rebuilt_lines

    told = rebuild(config.node.state, time.time)
    if as_json:
        say_json(asdict(told))
        return
    for line in rebuilt_lines(told):
        say_line(line)
