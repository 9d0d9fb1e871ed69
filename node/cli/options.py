"""What every command shares: options, the configuration, and where output goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from node.config.sections import Config
    from node.deliver.port import Destination

CONFIG_FILE: Final = Path("config.toml")
_PIPE_WIDTH: Final = 400
"""Columns of a table that no terminal shows: a row stays a line."""

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; default: config.toml here."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PathsArgument = Annotated[list[Path], typer.Argument(help="DICOM files and folders of them.")]
SeriesOption = Annotated[
    str | None, typer.Option("--series", help="Only the series with this UID.")
]
AnyOption = Annotated[
    bool,
    typer.Option(
        "--any-sequence", help="Leave the rules aside: any regular MR volume is eligible."
    ),
]


def config_of(path: Path | None, *, needed: bool = True) -> Config:
    """Load the given file, else config.toml here, else (when not needed) the defaults."""
    from node.config import sections as config

    if path is None and not CONFIG_FILE.exists() and not needed:
        return config.defaults()
    return config.load(path or CONFIG_FILE)


def built(config: Config) -> list[Destination]:
    """Return the configured destinations, in their order."""
    from node.deliver.port import build_all

    return list(build_all(config.destinations, config.node.ae_title).values())


def say_line(text: str) -> None:
    """Print one line to standard output."""
    typer.echo(text)


def complain(text: str) -> None:
    """Print one line to standard error."""
    typer.echo(" ".join(text.split()), err=True)


def say_progress(text: str) -> None:
    """Print progress, for people only."""
    if sys.stderr.isatty():
        typer.echo(f"  … {text}", err=True)


def say_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def say_table(table: RenderableType) -> None:
    """Print a table; folded to the terminal, or one line per row elsewhere."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=_PIPE_WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def leave_with(code: int) -> None:
    """End the command with an exit code other than 0."""
    if code:
        raise typer.Exit(code)


def now() -> datetime:
    """Return the time with its zone."""
    return datetime.now().astimezone()


def tell_left_out(lines: Sequence[str]) -> None:
    """Name the files that were left out."""
    for line in lines:
        complain(f"left out: {line}")
