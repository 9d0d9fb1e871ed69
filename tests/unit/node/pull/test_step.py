"""Pulls and rules over a source that answers as a test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pytest

from dicomseg.read.rules import DEFAULT_RULES
from node.config.pull import DicomSource, PullConfig, PullRuleConfig
from node.events import Event
from node.journal.journal import Journal
from node.journal.pulls import PullState
from node.pull.port import FoundInstance, FoundSeries, FoundStudy, Keep, SourceFault, Wanted
from node.pull.step import FIRST_WAIT_S, PullStep
from tests.support.clock import Clock

STUDY = "1.2.1"


@dataclass
class FakeSource:
    """Holds three objects of one series; brings what `brings` names."""

    journal: Journal
    facts: Any
    brings: tuple[int, ...] = (1, 2, 3)
    fault: str = ""
    studies_: tuple[FoundStudy, ...] = ()
    asked: list[Any] = field(default_factory=list)
    name: str = "archive"

    @contextmanager
    def asking(self) -> Iterator[FakeSource]:
        if self.fault:
            raise SourceFault(self.fault)
        yield self

    def studies(self, first: date, last: date) -> Sequence[FoundStudy]:
        self.asked.append((first, last))
        return self.studies_

    def series(self, study: str) -> Sequence[FoundSeries]:
        return [FoundSeries("1.2.3", "MR"), FoundSeries("1.2.4", "CT")] if study == STUDY else []

    def instances(self, _study: str, _series: str) -> Sequence[FoundInstance]:
        return [FoundInstance(f"1.2.3.{n}") for n in (1, 2, 3)]

    def fetch(self, wanted: Wanted, _keep: Keep) -> str:
        self.asked.append(wanted)
        for n in self.brings:
            if f"1.2.3.{n}" in {i.sop_instance for i in wanted.instances}:
                self.journal.instances.add(self.facts(n))
        return "" if self.brings else "it could not send"

    def echo(self) -> str:
        return "answers"


@dataclass
class Bench:
    step: PullStep
    source: FakeSource
    journal: Journal
    events: list[Event]

    def ended(self, source: str = "archive", study: str = STUDY) -> tuple[PullState, str]:
        row = self.journal.pulls.find(source, study)
        assert row is not None
        return row.state, row.reason

    def names(self) -> list[str]:
        return [type(e).__name__ for e in self.events]


class _Intake:
    reason = ""

    def room(self) -> str:
        return self.reason


@pytest.fixture
def bench(journal: Journal, facts: Any, clock: Clock) -> Bench:
    config = PullConfig(
        source=(DicomSource(name="archive", kind="dicom-get", ae_title="A", host="h", port=1),),
        rule=(PullRuleConfig(name="nightly", source="archive", at="02:30"),),
        patience_days=1.0,
    )
    source, events = FakeSource(journal, facts), list[Event]()
    step = PullStep(
        config, {"archive": source}, {"archive": "A"}, journal, DEFAULT_RULES,
        _Intake(), clock, lambda: 0.0, events.append, lambda: False,  # type: ignore[arg-type,return-value]
    )  # fmt: skip
    return Bench(step, source, journal, events)


def test_what_is_missing_is_fetched_and_nothing_twice(bench: Bench, facts: Any) -> None:
    bench.journal.instances.add(facts(2))
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    assert bench.step.run_once() == 1
    row = bench.journal.pulls.find("archive", STUDY)
    assert row is not None
    assert (row.state, row.found, row.here, row.pulled, row.missing) == (PullState.DONE, 3, 1, 2, 0)
    (wanted,) = bench.source.asked
    assert [i.sop_instance for i in wanted.instances] == ["1.2.3.1", "1.2.3.3"]
    assert bench.names() == ["PullStarted", "PullEnded"]
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    bench.step.run_once()
    assert bench.ended() == (PullState.NOTHING, "all 3 objects that may be eligible are here")


def test_what_does_not_come_is_asked_for_again_later(bench: Bench, clock: Clock) -> None:
    bench.source.brings = (1,)
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    bench.step.run_once()
    assert bench.ended()[0] is PullState.WAITING
    assert bench.step.run_once() == 0  # not due
    clock.pass_s(FIRST_WAIT_S + 1)
    bench.source.brings = (1, 2, 3)
    bench.step.run_once()
    row = bench.journal.pulls.find("archive", STUDY)
    assert row is not None
    assert (row.state, row.here, row.pulled) == (PullState.DONE, 0, 3)


def test_patience_ends(bench: Bench, clock: Clock) -> None:
    bench.source.fault = "PACS does not respond"
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    for _ in range(60):
        bench.step.run_once()
        clock.pass_s(1801)
    state, reason = bench.ended()
    assert state is PullState.FAILED
    assert reason.startswith("PACS does not respond (tried for ")
    assert bench.names().count("PullEnded") == 1


@pytest.mark.parametrize(
    ("study", "said"), [("1.2.7", "does not have"), (STUDY, "none of its 2 series")]
)
def test_nothing_to_fetch_says_why(study: str, said: str, bench: Bench) -> None:
    bench.source.series = (  # type: ignore[method-assign]
        lambda s: [FoundSeries("1.2.4", "CT"), FoundSeries("1.2.5", "SR")] if s == STUDY else []
    )
    bench.journal.pulls.ask("archive", study, by="anna")
    bench.step.run_once()
    state, reason = bench.ended(study=study)
    assert state is PullState.NOTHING
    assert said in reason


def test_a_source_that_is_not_configured_any_more_fails(bench: Bench) -> None:
    bench.journal.pulls.ask("old", STUDY, by="anna")
    bench.step.run_once()
    assert bench.ended("old")[0] is PullState.FAILED


def test_a_full_disk_lets_it_wait_and_asks_no_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Intake, "reason", "less than 9 MB free")
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    bench.step.run_once()
    assert bench.ended() == (PullState.WAITING, "less than 9 MB free")
    assert bench.source.asked == []


def test_a_pull_that_is_asked_for_again_meanwhile_is_not_ended(bench: Bench, clock: Clock) -> None:
    pull = bench.journal.pulls.ask("archive", STUDY, by="anna")
    clock.pass_s(1)
    bench.journal.pulls.ask("archive", STUDY, by="bert")
    bench.journal.pulls.end(pull, PullState.FAILED, "of the first")
    assert bench.ended() == (PullState.WAITING, "")


def test_a_rule_asks_once_a_day_and_makes_up_for_days_without_a_run(
    bench: Bench, clock: Clock
) -> None:
    clock.jump_s(datetime(2026, 3, 10, 2, 0).astimezone().timestamp() - clock.wall())
    bench.source.studies_ = (FoundStudy(STUDY, ("MR",)), FoundStudy("1.2.8", ("CT",)))
    bench.step.run_once()
    assert bench.source.asked == []
    clock.pass_s(3600)
    bench.step.run_once()
    clock.pass_s(3600)
    bench.step.run_once()
    assert [a for a in bench.source.asked if isinstance(a, tuple)] == [
        (date(2026, 3, 9), date(2026, 3, 9))
    ]
    assert bench.ended()[0] is PullState.DONE
    assert bench.journal.pulls.find("archive", "1.2.8") is None
    clock.pass_s(3 * 86_400)
    bench.step.run_once()
    assert bench.source.asked[-1] == (date(2026, 3, 10), date(2026, 3, 12))


def test_a_rule_whose_source_is_away_waits_and_is_not_lost(bench: Bench, clock: Clock) -> None:
    clock.jump_s(datetime(2026, 3, 10, 2, 0).astimezone().timestamp() - clock.wall())
    bench.step.run_once()
    bench.source.fault = "PACS does not respond"
    clock.pass_s(3600)
    for _ in range(3):
        bench.step.run_once()
        clock.pass_s(6)
    assert bench.names() == ["PullRuleWaits"]
    assert bench.journal.pulls.rules()["nightly"].tries == 1
    bench.source.fault = ""
    clock.pass_s(60)
    bench.step.run_once()
    assert bench.names()[-1] == "PullRuleRan"
    assert bench.journal.pulls.rules()["nightly"].tries == 0


def test_a_stop_leaves_the_pull_as_it_is(bench: Bench) -> None:
    bench.journal.pulls.ask("archive", STUDY, by="anna")
    bench.source.fault = "was left because the node stops"
    bench.step.stopped = iter([False, True, True, True]).__next__
    bench.step.run_once()
    row = bench.journal.pulls.find("archive", STUDY)
    assert row is not None
    assert (row.state, row.tries) == (PullState.WAITING, 0)
    assert replace(row, tries=0) == row
