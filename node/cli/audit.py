"""`audit verify` and `audit show`: whether the audit trail is intact, and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    command_group,
    known_state,
    local_user,
    moment,
    open_journal,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, warn

if TYPE_CHECKING:
    from node.audit.entry import AuditEvent
    from node.audit.trail import Trail
    from node.audit.verify import Report
    from node.config.sections import Config

group = command_group("The audit trail: whether it is intact, and what it holds.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="audit")


@group.command("verify")
def verify(
    config: ConfigOption = None,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="An entry that must be there.", metavar="NUMBER:HASH"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the audit trail: every hash, the order, the end.

    Prints number and hash of the last entry. Kept elsewhere and given to a
    later run as --expect, they prove that nothing before was changed.

    \b
    Examples:
      lumbar-node audit verify
      lumbar-node audit verify --expect 1204:5f0c…

    \b
    Exit status: 0 intact, 2 configuration, or no key for keyed entries,
    3 no trail, 4 damaged (which entry, and how).

    \b
    Files: STATE/audit/YYYY-MM.log
    """
    from dataclasses import asdict

    from node.audit import verify as verifier

    settings = read_config(config)
    trail = _trail(settings, needs_key=True)
    report = verifier.verify(trail, {**_noted(settings), **_expected(expect)})
    _note_reading(settings, "verify")
    if as_json:
        print_json({"intact": report.is_intact, **asdict(report)})
    else:
        _print_report(report)
    if report.unverified and report.is_intact:
        warn(f"{report.unverified} entries are keyed; set [audit] key_file to verify them")
        leave_with(2)
    leave_with(0 if report.is_intact else 4)


@group.command("show")
def show(
    config: ConfigOption = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only entries since: 12h, 7d, 2026-01-31.")
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Only entries of this study.", metavar="UID")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", help="Only entries of this name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show entries of the audit trail, oldest first.

    With --json one entry per line, as in the file but without its hash.

    \b
    Examples:
      lumbar-node audit show --since 24h
      lumbar-node audit show --study 1.2.840.113619.2.1 --json
      lumbar-node audit show --event association_refused

    \b
    Exit status: 0, 2 configuration or unknown event, 3 no trail.
    """
    import json

    from node.audit.entry import AuditEvent
    from node.audit.show import Wanted, entries, entry_line

    known_state(event, [str(e) for e in AuditEvent], what="event")
    settings = read_config(config)
    trail = _trail(settings, needs_key=False)
    wanted = Wanted(moment(since), study or "", event or "")
    for content in entries(trail, wanted):
        print_line(json.dumps(content) if as_json else entry_line(content))
    _note_reading(settings, "show")


def _trail(config: Config, *, needs_key: bool) -> Trail:
    from node.audit.step import open_trail, unkeyed_trail
    from node.observe.access import require_access

    trail = open_trail(config) if needs_key else unkeyed_trail(config)
    require_access((trail.folder,))
    if not trail.segments():
        warn(f"{trail.folder}: no audit trail; `lumbar-node serve` writes it")
        raise typer.Exit(3)
    return trail


def _noted(config: Config) -> dict[int, str]:
    """Return the hashes that the journal noted; without a journal that can be read there are none."""
    from node.errors import StateRefused

    try:
        journal = open_journal(config)
    except StateRefused as error:
        warn(f"{error} (the trail is verified without it)")
        return {}
    return journal.changes.anchors()


def _expected(text: str | None) -> dict[int, str]:
    if text is None:
        return {}
    number, _, digest = text.partition(":")
    is_hash = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    if not number.isdecimal() or not is_hash:
        raise typer.BadParameter("write NUMBER:HASH as `audit verify` printed it")
    return {int(number): digest}


def _print_report(report: Report) -> None:
    for finding in report.findings:
        where = f"{finding.segment}:{finding.line}: " if finding.segment else ""
        warn(f"{where}{finding.kind}: {finding.text}")
    state = "intact" if report.is_intact else "DAMAGED"
    print_line(
        f"audit trail {state}: entries {report.first} to {report.last} in {report.segments}"
        f" file{'' if report.segments == 1 else 's'}"
    )
    print_line(f"last entry {report.last}:{report.hash}")


def _note_reading(config: Config, how: str) -> None:
    """Write who read the trail."""
    from node.audit.entry import AuditEvent

    note_command(config, AuditEvent.TRAIL_READ, {"command": f"audit {how}"})


def note_command(config: Config, event: AuditEvent, what: dict[str, object]) -> None:
    """Write into the trail what the person who runs this command did; a warning says when that is not possible."""
    import time

    from node.audit.step import command_entry, open_trail
    from node.errors import SecretUnusable

    try:
        open_trail(config).append(command_entry(event, local_user(), what, time.time()))
    except (OSError, SecretUnusable) as error:
        warn(f"this command is not in the audit trail ({error})")
