"""The command lines of both programs as Markdown, read from their parsers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import typer.main

WIDTH = 80


def reference(program: str) -> str:
    """Return the help of every command of `lumbar-node` or `lumbar-train` as it is printed."""
    if program == "lumbar-node":
        from node.cli.app import app  # noqa: PLC0415 - one program at a time
    else:
        from training.cli.app import app  # type: ignore[assignment]  # noqa: PLC0415
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = str(WIDTH)
    parts = []
    for name, command in _commands(typer.main.get_command(app), program):
        parts += [f"## {name}", "", "```", _help(command, name), "```", ""]
    return "\n".join(parts).rstrip()


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for short, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, f"{name} {short}")


def _help(command: Any, name: str) -> str:
    command.rich_markup_mode = None
    context = command.context_class(command, info_name=name, terminal_width=WIDTH)
    lines = re.sub(r"\[/?bold\]", "", command.get_help(context)).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")
