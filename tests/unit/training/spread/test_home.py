"""Folds over workers that end, freeze, differ and come late, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from training.data.folds import Fold
from training.errors import WorkersAway
from training.evaluate.crossval_plan import CrossvalPlan
from training.fit.recipe import Recipe
from training.spread.home import AWAY_S, GRACE_S, LOSSES, Answer, Away, Home, Lost, Seen
from training.spread.remote import Job, Made, Raised

SILENT_S = 600.0


@dataclass
class Machines:
    """Workers by address. fates: what becomes of the coming jobs, done behind them; None is silence."""

    there: dict[str, str] = field(default_factory=lambda: {"a": "host1", "b": "host2"})
    unused: tuple[str, ...] = ()
    fates: list[Answer | None] = field(default_factory=list)
    at: float = 0.0
    given: list[tuple[str, str]] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    most: int = 0
    _running: dict[str, Answer | None] = field(default_factory=dict)

    def look(self) -> Seen:
        return Seen(self.there, self.unused)

    def submit(self, worker: str, job: Job) -> None:
        self.given.append((job.name, worker))
        self._running[job.name] = self.fates.pop(0) if self.fates else Made(job.number, b"")
        self.most = max(self.most, len(self._running))

    def poll(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        self.at += seconds
        ended = [(n, a) for n, a in self._running.items() if a is not None]
        for name, _ in ended:
            del self._running[name]
        return [*((n, Made(99, b"")) for n in self.late), *ended]

    def said(self) -> Mapping[str, str]:
        return {n: f"{t} at {self.at}" if t == "moving" else t for n, t in self.texts.items()}

    def abandon(self, name: str) -> None:
        self.abandoned.append(name)
        self._running.pop(name, None)


def _job(number: int, name: str) -> Job:
    return Job(name, number, Fold((), (), ()), CrossvalPlan(Recipe()), (), b"", SILENT_S)


def _train(machines: Machines, folds: int = 3) -> tuple[list[int], list[tuple[int, str, str]]]:
    shown: list[tuple[int, str, str]] = []
    home = Home(machines, _job, SILENT_S, lambda *said: shown.append(said), now=lambda: machines.at)
    done = []
    for number, made in home.train(range(1, folds + 1)):
        assert made.tested == number
        done.append(number)
    return done, shown


def test_each_worker_has_one_fold_at_a_time_and_every_fold_comes_once() -> None:
    machines = Machines()
    done, shown = _train(machines, 5)
    assert sorted(done) == [1, 2, 3, 4, 5]
    assert machines.most == 2
    assert machines.given[:2] == [("fold-1-0", "a"), ("fold-2-0", "b")]
    assert (1, "host1", "sent") in shown


def test_a_lost_fold_begins_again_under_another_name() -> None:
    machines = Machines(fates=[Lost("worker host1 ended")], late=["fold-1-7"])
    done, shown = _train(machines)
    assert sorted(done) == [1, 2, 3]
    assert [name for name, _ in machines.given if name.startswith("fold-1")] == ["fold-1-0", "fold-1-1"]  # fmt: skip
    assert (1, "host1", "worker host1 ended; the fold begins again") in shown


def test_a_fold_that_loses_every_worker_ends_with_the_last_reason() -> None:
    machines = Machines({"a": "host1"}, fates=[Lost(f"end {n}") for n in range(LOSSES)])
    with pytest.raises(WorkersAway, match=r"fold 1 lost 3 workers, the last one: end 2"):
        _train(machines)


def test_a_worker_without_progress_gets_no_other_fold() -> None:
    machines = Machines(fates=[None])
    done, shown = _train(machines)
    assert sorted(done) == [1, 2, 3]
    assert machines.abandoned == ["fold-1-0"]
    assert SILENT_S + GRACE_S < machines.at <= SILENT_S + GRACE_S + 5.0
    assert [worker for _, worker in machines.given].count("a") == 1
    assert (1, "host1", "no progress for 10 min; the fold begins again") in shown


def test_progress_keeps_a_fold_and_what_is_running_ends_with_home() -> None:
    machines = Machines({"a": "host1"}, fates=[None], texts={"fold-1-0": "moving"})
    shown: list[str] = []

    def show(_: int, __: str, text: str) -> None:
        shown.append(text)
        if machines.at > 3 * SILENT_S:
            raise KeyboardInterrupt

    home = Home(machines, _job, SILENT_S, show, now=lambda: machines.at)
    with pytest.raises(KeyboardInterrupt):
        list(home.train([1]))
    assert machines.abandoned == ["fold-1-0"]
    assert "moving at 7.0" in shown


def test_an_error_of_a_fold_and_a_scheduler_that_is_gone_end_the_command() -> None:
    with pytest.raises(ValueError, match="no cases"):
        _train(Machines(fates=[Raised(ValueError("no cases"))]))
    with pytest.raises(WorkersAway, match="gone; finished folds are kept"):
        _train(Machines(fates=[Away("the scheduler tls://x:1 is gone")]))


def test_without_a_worker_it_waits_and_other_cases_are_refused_at_once() -> None:
    nobody = Machines({})
    with pytest.raises(WorkersAway, match="start `lumbar-train worker`"):
        _train(nobody)
    assert AWAY_S < nobody.at <= AWAY_S + 2.0
    other = Machines({}, unused=("worker host1: cases abc, here are def; copy",))
    with pytest.raises(WorkersAway, match="host1: cases abc"):
        _train(other)
    assert other.at < 2.0
