"""`lumbar-node`: the commands, and how errors become one line and an exit code."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from dicomseg.errors import LumbarError
from node.cli import (
    accept,
    audit,
    bench,
    cluster,
    corrections,
    destinations,
    followup,
    health,
    jobs,
    models,
    notify,
    offline,
    pull,
    purge,
    selftest,
    series,
    service,
    status,
    users,
    verify,
)
from node.cli.output import PROGRAM, internal_error, warn
from node.cli.packages import packages_together
from node.program import program_version

COMMANDS: Final = (
    service,
    cluster,
    offline,
    verify,
    status,
    health,
    series,
    followup,
    purge,
    pull,
    corrections,
    destinations,
    accept,
    selftest,
    models,
    notify,
    jobs,
    audit,
    users,
    bench,
)
"""Modules with `register(app)`, in the order of the help."""

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {program_version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Segment and measure L4/5 on 3D T2 SPACE as a DICOM node. Research use only.

    \b
    Exit status of every command:
      0  done
      1  internal error (a log file is named)
      2  usage or configuration
      3  nothing to do
      4  input refused
      5  peer unreachable or refused
      6  model or bundle
      130  interrupted
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _module in COMMANDS:
    _module.register(app)


def main() -> None:
    """Run the script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one line on standard error."""
    from node.quiet import quiet_libraries

    quiet_libraries()
    try:
        packages_together(Path(__file__).resolve().parents[2])
        command = typer.main.get_command(app)
        code = command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        return _fail(_usage(error), 2)
    except LumbarError as error:
        return _fail(str(error), error.exit_code)
    except sqlite3.Error as error:
        from node.journal import file as journal_file

        return _fail(str(journal_file.refusal(Path("journal.sqlite"), error)), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except Exception as error:  # noqa: BLE001 - the last place that can inform the user
        return _fail(internal_error(error, arguments), 1)
    return code if isinstance(code, int) else 0


def _usage(error: TyperException) -> str:
    """Return what is wrong with the arguments, and which help describes them."""
    message = error.format_message().rstrip(".").removeprefix("Invalid value: ")
    context = getattr(error, "ctx", None)
    path = PROGRAM if context is None else context.command_path
    return f"{message[:1].lower()}{message[1:]}; see `{path} --help`"


def _fail(message: str, code: int) -> int:
    warn(message)
    return code


if __name__ == "__main__":
    main()
