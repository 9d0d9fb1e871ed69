"""`echo` and `check-config`: whether the configuration is usable and the destinations respond."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    build_destinations,
    check_destination,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, warn

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.deliver.port import Destination


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("echo")(echo)
    app.command("check-config")(check_config)


def echo(
    name: Annotated[
        str | None, typer.Argument(help="Destination; default: all.", metavar="NAME")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test connectivity to destinations.

    By C-ECHO, by QIDO-RS, or by a test write into the folder.

    \b
    Examples:
      lumbar-node echo
      lumbar-node echo pacs --json

    \b
    Exit status: 0 all respond, 2 unknown name, 5 one does not respond.
    """
    settings = read_config(config)
    if name is not None:
        check_destination(settings, name)
    destinations = build_destinations(settings)
    leave_with(_echo([d for d in destinations if name in {None, d.name}], as_json=as_json))


def _echo(destinations: Sequence[Destination], *, as_json: bool) -> int:
    from node.deliver.echo import echo_all

    results = echo_all(destinations)
    if as_json:
        print_json([{"name": r.name, "answers": r.answers, "text": r.text} for r in results])
    for result in results:
        if not result.answers:
            warn(result.text)
        elif not as_json:
            print_line(f"{result.name}: {result.text}")
    return 0 if all(r.answers for r in results) else 5


def check_config(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Contact no destination.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the effective configuration and test destinations.

    \b
    Examples:
      lumbar-node check-config
      lumbar-node check-config --offline --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 usable, 2 the file is wrong (with its line), 5 a destination
    does not respond.
    """
    import json

    from node.config.render import render
    from node.config.words import masked

    settings = read_config(config)
    if as_json:
        print_line(
            masked(json.dumps(settings.model_dump(mode="json"), indent=1, ensure_ascii=False))
        )
    else:
        print_line(masked(render(settings, comments=False)))
    if not settings.destinations:
        warn("no destination is configured; results stay on this machine")
    if not offline:
        leave_with(_echo_beside(settings, as_json=as_json))


def _echo_beside(config: Config, *, as_json: bool) -> int:
    """Test the destinations; with --json the configuration alone is on standard output."""
    from node.deliver.echo import echo_all

    results = echo_all(build_destinations(config))
    for result in results:
        if not result.answers:
            warn(result.text)
        else:
            typer.echo(f"{result.name}: {result.text}", file=sys.stderr if as_json else sys.stdout)
    return 0 if all(r.answers for r in results) else 5
