"""`serve`, `demo` and `doctor`: the service, its demonstration, its examination."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    find_config,
    local_user,
    open_journal,
    out_folder,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, print_progress, warn

if TYPE_CHECKING:
    from node.audit.entry import AuditEvent
    from node.config.sections import Config


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("demo")(demo)
    app.command("doctor")(doctor)


def serve(config: ConfigOption = None) -> None:
    """Run the service until SIGTERM or Ctrl+C.

    \b
    Examples:
      lumbar-node serve
      lumbar-node serve --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 stopped in order, 2 configuration, port or state folder,
    6 model or bundle.

    \b
    Files, under [node] state: spool/, results/, quarantine/, journal.sqlite
    """
    from node.service import service

    path = find_config(config)
    leave_with(service.serve(read_config(path), path.resolve() if path else None))


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the servers running at the end.")
    ] = False,
    patients: Annotated[
        int, typer.Option("--patients", min=0, help="Number of patients with a result.")
    ] = 3,
    out: Annotated[Path, out_folder("Folder for everything.")] = Path("demo-out"),
    no_servers: Annotated[
        bool, typer.Option("--no-servers", help="A plain folder instead of a PACS.")
    ] = False,
) -> None:
    """Run synthetic studies through a real PACS and this node.

    At the end, results are compared with ground truth.

    \b
    Examples:
      lumbar-node demo
      lumbar-node demo --keep --patients 2

    \b
    Exit status: 0 every step succeeded, else the code of the step that did not.
    """
    from node.demo import run

    leave_with(run.main(keep=keep, patients=patients, out=out, no_servers=no_servers))


def doctor(
    config: ConfigOption = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Rebuild the journal of a stopped node from spool and results."
        ),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mend what can be mended, of a stopped node; one line per item."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes only, not the digest of every file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check journal, files on disk and audit trail.

    Every file is read once. Only --repair and --rebuild change anything, and both need a stopped node.
    --repair keeps the journal and mends item by item: files without a row, rows without a file, damaged
    files, left-overs, stuck rows, results without a row. It deletes only what was never acknowledged;
    what cannot stay is moved to aside/ of the state folder. --rebuild is for a journal that is damaged.

    \b
    Examples:
      lumbar-node doctor
      lumbar-node doctor --quick --json
      lumbar-node doctor --repair
      lumbar-node doctor --rebuild

    \b
    Exit status: 0 no findings, or all mended, 1 findings, or some left, 2
    configuration, or no or a damaged journal.
    """
    from dataclasses import asdict

    from node.audit.findings import trail_findings
    from node.observe.access import require_access
    from node.observe.doctor import Check, Finding, examine, finding_lines
    from node.observe.tls import tls_findings
    from node.store.layout import StateDirectory

    if rebuild and repair:
        raise typer.BadParameter(
            "--repair keeps the journal, --rebuild makes a new one; choose one"
        )
    settings = read_config(config)
    if repair:
        _repair(settings, quick=quick, as_json=as_json)
        return
    if rebuild:
        _rebuild(settings, as_json=as_json)
        return
    directory = StateDirectory(settings.node.state)
    require_access((directory.spool, directory.quarantine, directory.results, directory.audit))
    check = Check(settings.node.state, quick, print_progress)
    journal = open_journal(settings)
    findings = [*examine(journal, check), *tls_findings(settings, time.time())]
    findings += [Finding(*f) for f in trail_findings(settings, journal)]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for line in finding_lines(findings) or ["journal and disk agree"]:
            print_line(line)
    leave_with(1 if findings else 0)


def _repair(config: Config, *, quick: bool, as_json: bool) -> None:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from node.audit.entry import AuditEvent
    from node.repair.repair import Mended, Repair

    def tell(item: Mended) -> None:
        if not as_json:
            print_line(item.line)

    stamp = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
    items = Repair(config.node.state, time.time, stamp, quick, tell).run()
    left = sum(item.is_left for item in items)
    if items:
        _audit(config, AuditEvent.STATE_REPAIRED, mended=len(items) - left, left=left)
    if as_json:
        print_json([asdict(item) for item in items])
    else:
        print_line(
            f"{len(items) - left} mended, {left} left" if items else "journal and disk agree"
        )
    leave_with(1 if left else 0)


def _rebuild(config: Config, *, as_json: bool) -> None:
    from dataclasses import asdict

    from node.receive.rebuild import rebuild, rebuilt_lines

    counts = rebuild(config.node.state, time.time)
    _audit_rebuild(config)
    if as_json:
        print_json(asdict(counts))
        return
    for line in rebuilt_lines(counts):
        print_line(line)


def _audit_rebuild(config: Config) -> None:
    """Write who rebuilt the journal, and from where it is audited from now on."""
    from node.audit.entry import AuditEvent

    _audit(config, AuditEvent.JOURNAL_REBUILT, read=open_journal(config).changes.newest())


def _audit(config: Config, event: AuditEvent, **what: object) -> None:
    """Write who did this; what cannot be written is a warning."""
    from node.audit.step import command_entry, open_trail
    from node.errors import SecretUnusable

    try:
        open_trail(config).append(command_entry(event, local_user(), what, time.time()))
    except (OSError, SecretUnusable) as error:
        warn(f"this is not in the audit trail ({error})")
