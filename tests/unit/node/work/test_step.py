"""The supervisor of the workers: crashes, silence, memory, restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.config.work import WorkConfig
from node.event_log import EventLog
from node.journal.journal import Journal
from node.journal.series import SeriesTable
from node.journal.states import SeriesState
from node.work.step import WorkStep
from tests.support.mr_series import KEY
from tests.support.workers import claim, select

# ---- the supervisor's side -----------------------------------------------------------------------


@dataclass
class FakeProcess:
    """A worker process by name only."""

    name: str = "w1"
    token: str = "w1.1.1"  # noqa: S105 - names a claim
    running: bool = True
    ready: bool = True
    starts: int = 1
    killed: list[str] = field(default_factory=list)
    ending: str = "the worker was ended by SIGSEGV"

    def made(self, claim: str | None) -> bool:
        return claim is not None and claim.startswith(f"{self.token}/")

    def poll(self) -> int | None:
        return None if self.running else -11

    def start(self) -> None:
        self.starts += 1
        self.running = True

    def kill(self, why: str) -> None:
        self.killed.append(self.token)
        self.ending = why
        self.running = False


def _workers(
    process: FakeProcess, journal: Journal, clock: Any, log: StringIO | None = None
) -> WorkStep:
    events = EventLog("test", log or StringIO())
    return WorkStep((process,), WorkConfig(time_limit_seconds=100.0), journal, clock, events.event)  # type: ignore[arg-type]


def test_claim_of_a_crashed_worker_says_how_it_ended(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    claim(journal, "w1.1.1/1")
    log = StringIO()
    assert _workers(FakeProcess(running=False), journal, clock, log).run_once() == 1
    assert journal.series.get(KEY).reason == "the worker was ended by SIGSEGV, attempt 1 of 3"
    (entry,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (entry["event"], entry["worker"], entry["exit_code"], entry["ends"]) == (
        "WorkerEnded", "w1", -11, 1,
    )  # fmt: skip


def test_worker_that_cannot_be_started_keeps_no_other_from_it(
    journal: Journal, clock: Any, monkeypatch: Any
) -> None:
    first, second = FakeProcess(starts=0, running=False), FakeProcess("w2", starts=0, running=False)

    def no_room() -> None:
        first.starts += 1
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(first, "start", no_room)
    log = StringIO()
    workers = WorkStep((first, second), WorkConfig(), journal, clock, EventLog("t", log).event)  # type: ignore[arg-type]
    for _ in range(100):
        workers.run_once()
        clock.pass_s(0.1)
    assert second.running
    assert 2 < first.starts < 6
    assert "Resource temporarily unavailable" in log.getvalue()


def test_ordered_stop_hands_the_series_back_as_if_it_had_not_been_begun(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    workers = WorkStep((), WorkConfig(), journal, clock, EventLog("test", StringIO()).event)
    for number in range(5):
        claim(journal, f"w1.1.1/{number}")
        workers.stop(1.0)
        row = journal.series.get(KEY)
        assert (row.state, row.attempts) == (SeriesState.SELECTED, 0)
    assert row.reason == "the node was stopped"


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_clock_that_jumps_kills_no_worker_and_spares_none(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, jump_s: float
) -> None:
    select(journal, write_series(tmp_path / "a"))
    claim(journal, "w1.1.1/1")
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    assert workers.run_once() == 0
    clock.jump_s(jump_s)
    assert workers.run_once() == 0
    for _ in range(10):
        clock.pass_s(9.9)
        journal.series.heartbeat(KEY, "w1.1.1/1")
        assert workers.run_once() == 0
    clock.pass_s(2)
    assert workers.run_once() == 1
    assert "more than 100 s" in journal.series.get(KEY).reason


def test_worker_is_not_silent_while_another_program_holds_the_journal(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    claim(journal, "w1.1.1/1")
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    heartbeat = SeriesTable.heartbeat

    def held_for_20_s(*given: Any) -> bool:
        clock.pass_s(20)
        return heartbeat(*given)

    clock.pass_s(31)
    with monkeypatch.context() as patched:
        patched.setattr(SeriesTable, "heartbeat", held_for_20_s)
        assert workers.run_once() == 0
    clock.pass_s(29)
    assert workers.run_once() == 0
    clock.pass_s(2)
    assert workers.run_once() == 1
    assert process.killed == ["w1.1.1"]


def test_claim_of_a_dead_worker_is_given_back_and_fails_at_the_third_attempt(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    for attempt in (1, 2, 3):
        claim(journal, f"w9.1.{attempt}/1")
        assert workers.run_once() == 1
    row = journal.series.get(KEY)
    assert row.state is SeriesState.FAILED
    assert row.reason == "the worker ended, attempt 3 of 3"
    assert process.killed == []


def test_claim_of_a_living_worker_is_left_alone(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    claim(journal, "w1.1.1/1")
    assert _workers(FakeProcess(), journal, clock).run_once() == 0


@pytest.mark.parametrize(
    ("seconds", "beats", "reason"),
    [(101.0, True, "more than 100 s"), (31.0, False, "no sign of life for 31 s")],
)
def test_worker_that_takes_too_long_or_is_silent_is_killed(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, seconds: float, beats: bool, reason: str
) -> None:  # fmt: skip
    select(journal, write_series(tmp_path / "a"))
    claim(journal, "w1.1.1/1")
    clock.pass_s(seconds)
    if beats:
        journal.series.heartbeat(KEY, "w1.1.1/1")
    process = FakeProcess()
    assert _workers(process, journal, clock).run_once() == 1
    assert process.killed == ["w1.1.1"]
    assert reason in journal.series.get(KEY).reason


def test_worker_that_ends_at_once_is_restarted_ever_more_slowly(
    journal: Journal, clock: Any
) -> None:
    process = FakeProcess(running=False, ready=False)
    workers = _workers(process, journal, clock)
    started = []
    for second in range(16):
        workers.run_once()
        if process.running:
            started.append(second)
            process.running = False
        clock.pass_s(1)
    assert started == [1, 4, 9]
