"""What every command prints alike: lines, warnings, JSON, tables, progress; and the exit code."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from node.cli.tables import Table

PROGRAM: Final = "lumbar-node"
SERVICE: Final = "serve"
"""The command that runs as a service."""


def print_line(text: str) -> None:
    """Print one line to standard output."""
    typer.echo(text)


def warn(text: str) -> None:
    """Print a line, or the several of a message, to standard error, after the program's name."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    typer.echo(f"{PROGRAM}: " + "\n".join(lines), err=True)


def print_progress(text: str) -> None:
    """Print progress, on a terminal only."""
    if sys.stderr.isatty():
        typer.echo(f"  … {text}", err=True)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_table(table: Table) -> None:
    """Print a table, folded to the width of the terminal; elsewhere one line per row."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(table.rich())
        return
    for line in table.lines():
        typer.echo(line)


def leave_with(code: int) -> None:
    """End the command with an exit code other than 0."""
    if code:
        raise typer.Exit(code)


def internal_error(error: Exception, arguments: Sequence[str]) -> str:
    """Return one line about an unforeseen error; its traceback goes to a log file that the line names.

    A service has a /tmp of its own, which ends with it: its line says the places itself.
    """
    strerror = getattr(
        error, "strerror", None
    )  # of the system, never of a library: no patient data
    kind = f"{type(error).__name__}: {strerror}" if strerror else type(error).__name__
    if arguments and arguments[0] == SERVICE:
        return f"internal error ({kind}); places, innermost first: {' < '.join(_places(error))}"
    return f"internal error ({kind}); {_write_log(arguments)}"


def _places(error: Exception) -> list[str]:
    from node.faults import error_trace

    return [*reversed(error_trace(error))]


def _write_log(arguments: Sequence[str]) -> str:
    """Write the traceback to a new file and return where; the full disk may be the error."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"{PROGRAM}-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            # No values: an argument may be a patient id.
            options = [a.partition("=")[0] for a in arguments[1:] if a.startswith("-")]
            command = " ".join([*arguments[:1], *options])
            file.write(f"{datetime.now(UTC).isoformat()} {PROGRAM} {command}\n")
            file.write(traceback.format_exc())
    except OSError as error:
        return f"no log could be written ({error.strerror})"
    return f"details in {file.name}"
