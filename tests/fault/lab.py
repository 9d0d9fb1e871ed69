"""What a scenario works with: a folder, the phantom, a seed, a size, and lines of progress."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fault.broken import REMEMBERING, SWIFT
from tests.fault.destinations import Destination, Folder
from tests.fault.objects import Series, Stock
from tests.fault.points import Point
from tests.fault.sites import Site
from tests.fault.verdict import COLUMNS, Verdict, judge

BROKEN_WAIT_S: Final = 30.0
"""Longest wait without any change of a state in a broken variant."""

SMALL: Final = 0.1
"""Share of the full size below which work is left out that has nothing to do with faults."""


@dataclass(slots=True)
class Lab:
    """The surroundings of one scenario. scale: share of the full size. broken: what is replaced in
    every node. only: the steps or moods that are chosen, all where there is none."""

    name: str
    folder: Path
    stock: Stock
    scale: float
    seed: int
    say: Callable[[str], None]
    broken: Sequence[tuple[str, str]] = ()
    only: tuple[str, ...] = ()
    runs: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    notes: list[str] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    draw: random.Random = field(init=False)
    _made: int = 0
    _sites: list[Site] = field(default_factory=list)
    _at_end: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed}/{self.name}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    @property
    def is_small(self) -> bool:
        """Whether this is the small share that every run of the tests has."""
        return self.scale < SMALL

    def share(self, full: float, least: int = 1) -> int:
        """How many of so many at full size."""
        return max(least, round(full * self.scale))

    def chosen(self, steps: Sequence[Point]) -> list[Point]:
        """Those of the steps that are to be tried."""
        return [p for p in steps if not self.only or p.step in self.only]

    def finally_(self, act: Callable[[], object]) -> None:
        """Do something when the scenario has ended, however it did."""
        self._at_end.append(act)

    def site(self, *destinations: Destination, folder: Path | None = None, **options: Any) -> Site:
        """Describe a node; a folder takes its results where no destination is given."""
        place = folder or self.folder / f"site{len(self._sites)}"
        site = Site(place, self.stock, destinations or (Folder(place / "delivered"),), **options)
        site.plan.variants = (*SWIFT, *(REMEMBERING if self.is_small else ()), *self.broken)
        site.plan.remembered = self.stock.folder / "remembered"
        if self.broken:
            site.longest_wait_s = BROKEN_WAIT_S
        self._sites.append(site)
        return site

    def series(self, count: int = 1, chosen: Sequence[int] | None = None) -> list[Series]:
        """Make so many series that this scenario has not had yet."""
        made = [
            self.stock.series(f"{self.name}/{self.seed}/{self._made + n}", chosen)
            for n in range(count)
        ]
        self._made += count
        return made

    def ran(self, count: int = 1, step: str = "") -> None:
        """Count runs, at a named step."""
        self.runs += count
        if step:
            self.steps[step] += count
        self.say(f"{self.runs} runs")

    def note(self, sentence: str) -> None:
        """Keep a sentence for under the table."""
        self.notes.append(sentence)
        self.say(sentence)

    def judge(self, site: Site) -> None:
        """Stop the node and judge its site."""
        site.stop()
        found = judge(site)
        for column in COLUMNS:
            for sentence in found.findings[column][:5]:
                self.say(f"{column.upper()}: {sentence}")
        self.verdict.join(found)

    def end(self) -> None:
        """Leave no process behind."""
        for site in self._sites:
            site.kill()
        for act in reversed(self._at_end):
            act()


def until(done: Callable[[], bool], seconds: float, pause_s: float = 0.02) -> bool:
    """Wait until something holds; False when it does not in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def first_line(sentences: Iterable[str]) -> str:
    """The first sentence, cut for a table."""
    return next(iter(sentences), "")[:160]
