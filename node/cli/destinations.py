"""`echo` and `check-config`: whether the configuration is usable and the destinations respond."""

from __future__ import annotations

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
    from node.deliver.echo import EchoResult


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
    """Test destinations, and which objects they accept.

    By C-ECHO with the SOP classes and transfer syntaxes that will be sent, by
    QIDO-RS, or by the permissions of the folder. Nothing is stored.

    \b
    Examples:
      lumbar-node echo
      lumbar-node echo pacs --json

    \b
    Exit status: 0 all respond and refuse nothing, 2 unknown name, 5 one does not
    respond or refuses an object.
    """
    settings = read_config(config)
    if name is not None:
        check_destination(settings, name)
    results = _echo(settings, name)
    if as_json:
        from node.cli.destination_matrix import result_json

        print_json([result_json(r) for r in results])
    leave_with(_show(results, quiet=as_json))


def _echo(config: Config, name: str | None = None) -> tuple[EchoResult, ...]:
    from node.deliver.echo import echo_all
    from node.deliver.offers import offers_for

    pairs = zip(build_destinations(config), config.destinations, strict=True)
    return echo_all([(d, offers_for(c)) for d, c in pairs if name in {None, c.name}])


def _show(results: Sequence[EchoResult], *, quiet: bool = False, error_stream: bool = False) -> int:
    """Print who responds and the matrix; returns the exit code. quiet: only what does not respond."""
    from node.cli.destination_matrix import matrix_lines

    for result in results:
        if not result.answers:
            warn(result.text)
        elif not quiet:
            typer.echo(f"{result.name}: {result.text}", err=error_stream)
    for line in () if quiet else matrix_lines(results):
        typer.echo(line, err=error_stream)
    return 0 if all(r.usable for r in results) else 5


def check_config(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Contact no destination.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the effective configuration and test destinations.

    With --json the configuration alone is on standard output.

    \b
    Examples:
      lumbar-node check-config
      lumbar-node check-config --offline --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 usable, 2 the file is wrong (with its line), 5 a destination
    does not respond or refuses an object.
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
        leave_with(_show(_echo(settings), error_stream=as_json))
