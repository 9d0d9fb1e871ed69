"""Output of the demonstration: every step with its time, a spinner during long steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType


@dataclass(slots=True)
class DemoConsole:
    """The console of one run, and the folder of its files."""

    raw: Console
    out: Path
    began: float = field(default_factory=time.monotonic)

    def print_line(self, text: str) -> None:
        """Print a line with the seconds since the start; never wrapped, so that links survive."""
        passed = time.monotonic() - self.began
        self.raw.print(f"[dim]{passed:6.1f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    def show(self, thing: RenderableType) -> None:
        """Print a table or a sentence without a time."""
        self.raw.print(thing, highlight=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a spinner during a step, and its seconds at the end."""
        began = time.monotonic()
        with self.raw.status(text):
            yield
        self.print_line(f"{text} ({time.monotonic() - began:.1f} s)")


def short(path: Path) -> str:
    """Return a path relative to the current folder if it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
