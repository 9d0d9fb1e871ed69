"""`lumbar-train`: the commands, and how errors become one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from dicomseg.errors import LumbarError
from training.cli import (
    check_real,
    crossval,
    evaluate,
    export,
    fit,
    importing,
    level,
    phantom,
    prepare,
    report,
    retrain,
    roots,
    shifts,
    to_nnunet,
    worker,
)
from training.errors import NotInstalled

PROGRAM: Final = "lumbar-train"
COMMANDS: Final = (
    phantom,
    prepare,
    importing,
    to_nnunet,
    fit,
    level,
    roots,
    export,
    evaluate,
    crossval,
    worker,
    report,
    check_real,
    shifts,
    retrain,
)
"""Modules with `register(app)`, in the order of the help."""

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {version('lumbar-node')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Make synthetic lumbar studies, prepare training cases, train and evaluate the model.

    \b
    Exit status of every command:
      0  done
      1  internal error
      2  usage or recipe
      3  nothing proposed
      4  input refused
      5  DICOMweb server or workers unreachable, or refused
      6  model or bundle
      130  interrupted
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _module in COMMANDS:
    _module.register(app)


def main() -> None:
    """Run the script."""
    from training.fit.cpu.kernels import keep_memory

    keep_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one line on standard error."""
    try:
        command = typer.main.get_command(app)
        code = command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        return _fail(_usage(error), 2)
    except LumbarError as error:
        return _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        missing = f"{error.name} is missing; run `make install`, or install pip's extra train"
        return _fail(missing, NotInstalled.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except Exception as error:  # noqa: BLE001 - the last place that can inform the user
        traceback.print_exc()
        return _fail(f"internal error ({type(error).__name__}); the traceback is above", 1)
    return code if isinstance(code, int) else 0


def _usage(error: TyperException) -> str:
    """Return what is wrong with the arguments, and which help describes them."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    path = PROGRAM if context is None else context.command_path
    see = " See" if message.endswith("?") else "; see"
    return f"{message[:1].lower()}{message[1:]}{see} `{path} --help`"


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    main()
