"""`status`: whether the node runs, what it holds, and what needs attention."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import typer

from node.cli.options import ConfigOption, JsonOption, open_journal, read_config
from node.cli.output import print_json, print_line

_COUNTED: Final = (
    ("", "series"), ("instance.", "objects"), ("delivery.", "deliveries"), ("withdrawal.", "withdrawals"),
    ("job.", "jobs"), ("pull.", "pulls"),
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the state of the node and what needs attention.

    Whether it runs and is ready, its model, the last reception from every sender, series and
    delivery counts. Read-only; a stopped node has a status too.

    \b
    Examples:
      lumbar-node status
      lumbar-node status --json

    \b
    Exit status: 0, 2 configuration or no journal.
    """
    from dataclasses import asdict

    from model.bundle.card import default_path
    from node.observe.attention import attention, matter_lines
    from node.observe.node_status import node_status, status_json, status_lines
    from node.observe.selftest import site_matters

    settings = read_config(config)
    journal = open_journal(settings)
    matters = [*site_matters(settings, time.time()), *attention(journal)]
    counts = journal.counts()
    state = node_status(settings, journal, default_path())
    if as_json:
        print_json(
            {
                "node": settings.node.name,
                "ae_title": settings.node.ae_title,
                "state": str(settings.node.state),
                **status_json(state),
                "counts": counts,
                "attention": [asdict(m) for m in matters],
            }
        )
        return
    print_line(f"{settings.node.name} ({settings.node.ae_title}), state in {settings.node.state}")
    for line in (*status_lines(state), *_count_lines(counts)):
        print_line(line)
    print_line("needs attention:" if matters else "nothing needs attention")
    for line in matter_lines(matters):
        print_line(f"  {line}")


def _count_lines(counts: Mapping[str, int]) -> list[str]:
    """Return one line per kind of thing: how many are in which state."""
    from node.observe.text import state_text

    lines = []
    for prefix, label in _COUNTED:
        states = {
            name.removeprefix(prefix): count
            for name, count in sorted(counts.items())
            if name.startswith(prefix) and (prefix or "." not in name)
        }
        if states:
            listing = ", ".join(f"{count} {state_text(name)}" for name, count in states.items())
            lines.append(f"{label:<11}  {listing}")
    return lines
