"""`echo` and `check-config`: whether the configuration is usable, and destinations and sources respond."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    build_destinations,
    check_destination,
    find_config,
    read_config,
)
from node.cli.output import leave_with, print_json, print_line, warn

if TYPE_CHECKING:
    from node.config.file import Loaded
    from node.config.sections import Config
    from node.deliver.echo import EchoResult


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("echo")(echo)
    app.command("check-config")(check_config)


def echo(
    name: Annotated[
        str | None, typer.Argument(help="Destination or source; default: all.", metavar="NAME")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test destinations, sources, and which objects are accepted.

    By C-ECHO with the SOP classes and transfer syntaxes that will be sent, by
    QIDO-RS, or by the permissions of the folder. Nothing is stored or fetched.

    \b
    Examples:
      lumbar-node echo
      lumbar-node echo pacs --json

    \b
    Exit status: 0 all respond and refuse nothing, 2 unknown name, 5 one does not
    respond or refuses an object.
    """
    settings = read_config(config)
    if name is not None and name not in {s.name for s in settings.pull.source}:
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
    results = echo_all([(d, offers_for(c)) for d, c in pairs if name in {None, c.name}])
    if not config.pull.source:
        return results
    from node.pull.echo import echo_sources
    from node.tls.credentials import Credentials

    return (*results, *echo_sources(config, name, Credentials(config.tls)))


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
    offline: Annotated[
        bool, typer.Option("--offline", help="Contact no destination; read the secrets' files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the configuration in use; test every peer.

    Behind every value that is not the default is where it came from: the line
    of the file, or the environment variable. Creates nothing. With --json the
    configuration alone is on standard output.

    \b
    Examples:
      lumbar-node check-config
      lumbar-node check-config --offline --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 usable, 2 the configuration or the file of a secret is wrong,
    5 a destination does not respond or refuses an object.
    """
    from node.config import file

    loaded = file.load_config(find_config(config))
    settings = loaded.config
    _print_settings(loaded, as_json=as_json)
    if not settings.destinations:
        warn("no destination is configured; results stay on this machine")
    code = _check_connections(settings)
    if code:
        leave_with(code)
    if offline:
        leave_with(_check_secrets(settings))
    else:
        leave_with(_show(_echo(settings), error_stream=as_json))


def _print_settings(loaded: Loaded, *, as_json: bool) -> None:
    """Print every value and its source; never a secret, which only its own file holds."""
    import json

    from node.config.render import render
    from node.config.words import masked

    sources = loaded.sources()
    if as_json:
        values = loaded.config.model_dump(mode="json")
        values["sources"] = {".".join(map(str, where)): text for where, text in sources.items()}
        print_line(masked(json.dumps(values, indent=1, ensure_ascii=False)))
        return
    print_line(f"# {loaded.path or 'no file: environment variables alone'}")
    print_line(masked(render(loaded.config, comments=False, sources=sources)))


def _check_connections(config: Config) -> int:
    """Warn of what is open to every peer or ends soon; returns 2 where a file of [tls] cannot be used."""
    import time

    from node.errors import SecretUnusable, TlsError
    from node.receive.admission import is_open
    from node.tls.credentials import Credentials, roles
    from node.tls.expiry import ending_soon

    if is_open(config.receive, config.node.host):
        warn(
            f"every peer that reaches {config.node.host} port {config.node.port} may send;"
            " list the senders as [[receive.caller]]"
        )
    now = time.time()
    for ending in ending_soon(config.tls, now):
        warn(ending.line(now))
    try:
        Credentials(config.tls).prepare(roles(config))
    except SecretUnusable as error:
        warn(f"[tls] private_key {error}")
    except TlsError as error:
        warn(str(error))
        return 2
    return 0


def _check_secrets(config: Config) -> int:
    """Read the file of every secret; returns the exit code."""
    from node.config.secret_files import CREDENTIAL, DIRECTORY, read_bytes
    from node.errors import SecretUnusable

    code = 0
    for key, value in config.secrets():
        try:
            read_bytes(value)
        except SecretUnusable as error:
            warn(f'"{key}": {error}')
            is_elsewhere = value.startswith(CREDENTIAL) and DIRECTORY not in os.environ
            code = code if is_elsewhere else 2
    return code
