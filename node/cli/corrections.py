"""`corrections`: segmentations that viewers sent back, what was found of each, and values before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import ConfigOption, JsonOption, local_user, open_journal, read_config
from node.cli.output import leave_with, print_json, print_line, warn

if TYPE_CHECKING:
    from node.config.sections import Config

NOTHING = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("corrections")(corrections)


def corrections(
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also segmentations that correct none of our results."),
    ] = False,
    remove: Annotated[
        str | None,
        typer.Option(
            "--remove", help="A case to take back: its name, or a SOP Instance UID.", metavar="ID"
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="With --remove: why, for the audit trail.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="With --remove: do it. Without it nothing is changed.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List segmentations that readers corrected, or take one back.

    A SEG that segments a series with a result, and differs from it, is checked and
    measured again. Accepted ones lie below the state folder with their images, as
    `lumbar-train import --dicom` reads them. They are kept until a person
    removes them; without --yes, --remove prints what would go.

    \b
    Examples:
      lumbar-node corrections
      lumbar-node corrections --all --json
      lumbar-node corrections --remove 3f0c5e2a9b1d4c7f8e6a0b21 \\
        --reason "wrong level" --yes

    \b
    Exit status: 0 there are some, or one would leave or has left, 2 usage or
    configuration, 3 there are none, or none of this name.
    """
    from node.observe.corrections import correction_lines, corrections_json, summary_line

    if remove is None and (reason or yes):
        raise typer.BadParameter("--reason and --yes are used with --remove")
    if remove is not None and not reason.strip():
        raise typer.BadParameter("--remove needs --reason TEXT")
    settings = read_config(config)
    if remove is not None:
        _remove(settings, remove, reason.strip(), yes=yes, as_json=as_json)
        return
    state = settings.node.state
    entries = corrections_json(open_journal(settings), state, unrelated=everything)
    if as_json:
        print_json(entries)
    for entry in () if as_json else entries:
        for line in correction_lines(entry):
            print_line(line)
    if not entries:
        warn("no viewer sent a corrected segmentation; --all shows what else was sent")
        leave_with(NOTHING)
    if not as_json:
        print_line(summary_line(entries, state))


def _remove(settings: Config, name: str, reason: str, *, yes: bool, as_json: bool) -> None:
    from node.review.removal import plan_removal, remove_case

    state = settings.node.state
    journal = open_journal(settings, writing=yes)
    removal = plan_removal(journal, state, name)
    if yes:
        remove_case(journal, state, removal, local_user(), reason)
    if as_json:
        segmentations = [row.sop_instance for row in removal.rows]
        print_json(
            {"removed": yes, "case": removal.entry, "segmentations": segmentations, "files": removal.files, "bytes_freed": removal.freed}
        )  # fmt: skip
        return
    for row in removal.rows:
        print_line(f"{row.state}  {row.sop_instance}")
    what = "removed" if yes else "would be removed; --yes does it"
    freed = (
        f"{removal.freed / 1e6:.1f} MB freed"
        if removal.freed
        else "nothing freed, spool and result hold it too"
    )
    print_line(f"case {removal.entry}: {removal.files} files {what} ({freed})")
