"""What several commands take: options, the configuration, the journal, the destinations."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.deliver.port import Destination
    from node.journal.journal import Journal

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file; default: $LUMBAR_NODE_CONFIG, ./config.toml, /etc/lumbar-node/config.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Make a new result, with new UIDs, that names its predecessor."),
]


def command_group(description: str) -> typer.Typer:
    """Return a group of commands that prints its help when no command is named."""
    return typer.Typer(
        help=description,
        callback=_print_help,
        invoke_without_command=True,
        rich_markup_mode=None,
    )


def _print_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def out_folder(description: str) -> Any:
    """Declare `--out` as a folder that is checked before the command starts."""
    return typer.Option("--out", "-o", help=description, callback=writable_folder)


def writable_folder(folder: Path) -> Path:
    """Return the folder if a command could write into it; it need not exist.

    Raises:
        typer.BadParameter: it cannot be written, or a part of its path is a file.
    """
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise typer.BadParameter(f"{nearest} is a file; choose a folder")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise typer.BadParameter(
            f"{nearest} cannot be written ({error.strerror}); choose another"
        ) from error
    return folder


_AGE: Final = re.compile(r"(\d+)([mhd])")
_UNIT_S: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def moment(text: str | None, option: str = "--since") -> float | None:
    """Return the moment that an option names, in seconds since 1970: an age or ISO 8601, local time.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text is None:
        return None
    age = _AGE.fullmatch(text)
    if age is not None:
        return time.time() - int(age[1]) * _UNIT_S[age[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f'"{text}" is no moment; write 2026-01-31, "2026-01-31 14:00", 90m, 12h or 7d',
            param_hint=option,
        ) from None


def known_state(state: str | None, states: Sequence[str], what: str = "state") -> str | None:
    """Return the state (or what else `what` says) that the option of this name names.

    Raises:
        typer.BadParameter: there is no such state; the message names the nearest.
    """
    if state is not None and state not in states:
        from node.config.words import nearest

        hint = nearest(state, states)
        raise typer.BadParameter(f'no {what} "{state}"{hint}', param_hint=f"--{what}")
    return state


def local_user() -> str:
    """Return the person who runs this command, for the audit trail: the account, and who became it by sudo."""
    from node.audit.step import account

    name, before = account(), os.environ.get("SUDO_USER", "")
    return f"{before} as {name}" if before and before != name else name


def find_config(path: Path | None) -> Path | None:
    """Return the configuration file that is read, None where there is none."""
    from node.config.search import find_file

    return find_file(path, os.environ)


def read_config(path: Path | None, *, required: bool = True) -> Config:
    """Read the configuration that `find_config` finds, or the defaults if none is required.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    from node.config import file

    found = find_config(path)
    if found is None and not required:
        return file.default_config(environ=os.environ)
    return file.read_config(found)


def open_journal(config: Config, *, writing: bool = False) -> Journal:
    """Open the journal of the configured state folder.

    Raises:
        StateRefused: there is none, or it is of another version.
    """
    from node.journal.journal import Journal
    from node.store.layout import StateDirectory

    opener = Journal.writing if writing else Journal.reading
    return opener(StateDirectory(config.node.state).journal, time.time)


def build_destinations(config: Config) -> list[Destination]:
    """Return the configured destinations, in their order.

    Raises:
        TlsError: a file of [tls] cannot be used.
    """
    from node.deliver.factory import build_all
    from node.tls.credentials import Credentials, roles

    credentials = Credentials(config.tls)
    credentials.prepare(roles(config))
    return list(build_all(config.destinations, config.node.ae_title, credentials).values())


def check_destination(config: Config, name: str) -> None:
    """Check that a destination is configured.

    Raises:
        UnknownDestination: it is not; the message names the nearest.
    """
    from node.config.words import nearest
    from node.errors import UnknownDestination

    names = [d.name for d in config.destinations]
    if name not in names:
        hint = nearest(name, names) if names else "; none is configured"
        raise UnknownDestination(f'no destination "{name}"{hint}')
