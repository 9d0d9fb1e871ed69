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
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes only, not the digest of every file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the journal against the files on disk (read-only).

    Every file is read once. Only --rebuild changes anything.

    \b
    Examples:
      lumbar-node doctor
      lumbar-node doctor --quick --json
      lumbar-node doctor --rebuild

    \b
    Exit status: 0 no findings, 1 findings, 2 configuration, or no or a damaged
    journal.
    """
    from dataclasses import asdict

    from node.observe.doctor import Check, examine, finding_lines
    from node.observe.tls import tls_findings

    settings = read_config(config)
    if rebuild:
        _rebuild(settings, as_json=as_json)
        return
    check = Check(settings.node.state, quick, print_progress)
    findings = [*examine(open_journal(settings), check), *tls_findings(settings, time.time())]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for line in finding_lines(findings) or ["journal and disk agree"]:
            print_line(line)
    leave_with(1 if findings else 0)


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
    from node.audit.step import command_entry, open_trail
    from node.errors import SecretUnusable

    journal = open_journal(config)
    what: dict[str, object] = {"read": journal.changes.newest()}
    user = local_user()
    try:
        open_trail(config).append(
            command_entry(AuditEvent.JOURNAL_REBUILT, user, what, time.time())
        )
    except (OSError, SecretUnusable) as error:
        warn(f"the rebuild is not in the audit trail ({error})")
