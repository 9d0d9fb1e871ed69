"""`health`: whether the running node is live and ready, in one line."""

from __future__ import annotations

import time

import typer

from node.cli.options import ConfigOption, JsonOption, read_config
from node.cli.output import leave_with, print_json, print_line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("health")(health)


def health(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say in one line whether the node is healthy.

    Reads what the running node reports of itself every 5 seconds: its listener and steps go
    round, the journal is readable, workers are ready, the disk has space. For health checks of
    containers and for scripts; members of the state folder's group may ask.

    \b
    Examples:
      lumbar-node health
      lumbar-node health --json

    \b
    Exit status: 0 healthy, 1 not healthy, 2 configuration.
    """
    from node.observe.health import health_json, health_line, read_health

    found = read_health(read_config(config).node.state, time.time())
    if as_json:
        print_json(health_json(found))
    else:
        print_line(health_line(found))
    leave_with(1 if found.problems else 0)
