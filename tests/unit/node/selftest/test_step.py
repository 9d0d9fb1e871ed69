"""When the self-test of the day runs, and that it gives way to a series."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from node.clock import Clock
from node.events import Event, SelftestEnded, SelftestGaveWay
from node.selftest.step import AGAIN_S, LONGEST_S, SelftestStep
from node.store.selftest_history import SelftestRow, append_row, read_history


class Child:
    """A process that ends when the test says so."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.killed = False
        self.stdin = None

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed, self.returncode = True, -9

    def wait(self) -> int:
        return self.returncode or 0


class Table:
    """Series in work."""

    busy: list[object] = []  # noqa: RUF012 - set by the test

    def in_states(self, *_: object) -> list[object]:
        return self.busy


class Bench:
    """A step with a clock, children and a journal of its own."""

    def __init__(self, state: Path) -> None:
        self.wall = datetime(2026, 3, 1, 3, 59).astimezone().timestamp()
        self.seconds = 100.0
        self.children: list[Child] = []
        self.events: list[Event] = []
        self.table = Table()
        self.table.busy = []
        journal: Any = type("Journal", (), {"series": self.table})()
        clock = Clock(lambda: self.wall, lambda: self.seconds)
        self.state = state
        self.step = SelftestStep("04:00", state, journal, clock, self.events.append, self._start)  # type: ignore[arg-type]

    def _start(self) -> Child:
        self.children.append(Child())
        return self.children[-1]

    def look(self, seconds: float = 10.0) -> int:
        self.wall += seconds
        self.seconds += seconds
        return self.step.run_once()

    def ends(self, outcome: str = "passed") -> None:
        append_row(self.state, row(self.wall, outcome))
        self.children[-1].returncode = 0


def row(at: float, outcome: str = "passed") -> SelftestRow:
    return SelftestRow(at, outcome, "", "b", "d", "e", "v", "s", drift_mm=0.01, cpu_s=9.0)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_runs_once_a_day_from_its_time_on(bench: Bench) -> None:
    assert (bench.look(), bench.look(60.0), len(bench.children)) == (0, 1, 1)
    bench.ends()
    assert bench.look() == 1
    assert bench.events == [SelftestEnded("passed", "", 0.01, 9.0)]
    assert (bench.look(3600.0), len(bench.children)) == (0, 1)
    assert (bench.look(24 * 3600.0), len(bench.children)) == (1, 2)


def test_it_waits_for_an_idle_node_and_gives_way(bench: Bench) -> None:
    bench.table.busy = [object()]
    assert bench.look(60.0) == 0
    bench.table.busy = []
    assert bench.look() == 1
    bench.table.busy = [object()]
    bench.look()
    assert bench.children[0].killed
    assert bench.events == [SelftestGaveWay(AGAIN_S)]
    bench.table.busy = []
    assert (bench.look(), bench.look(AGAIN_S), len(bench.children)) == (0, 1, 2)
    assert read_history(bench.state) == ()


def test_a_child_that_ends_without_a_row_or_hangs_is_a_failed_run(bench: Bench) -> None:
    bench.look(60.0)
    bench.children[0].returncode = 6
    bench.look()
    (first,) = read_history(bench.state)
    assert (first.outcome, first.reason) == ("failed", "ended with exit code 6 and no result")
    bench.look(24 * 3600.0)
    bench.look(LONGEST_S + 1)
    assert bench.children[1].killed
    assert "not ended within" in read_history(bench.state)[-1].reason
