"""How the demonstration speaks: every step with its time, long steps with a sign of life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType


@dataclass(slots=True)
class Stage:
    """The console of one run, and the folder of everything it writes."""

    console: Console
    out: Path
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line with the seconds since the beginning; never broken, so that links survive."""
        passed = time.monotonic() - self.began
        self.console.print(f"[dim]{passed:6.1f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    def show(self, thing: RenderableType) -> None:
        """Print a table or a sentence without a time."""
        self.console.print(thing, highlight=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Do something that takes time: a sign of life meanwhile, its seconds at the end."""
        began = time.monotonic()
        with self.console.status(text):
            yield
        self.say(f"{text} ({time.monotonic() - began:.1f} s)")


def short(path: Path) -> str:
    """A path as a person in this folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
