"""The planned retraining: due, missed, overlapping, nothing new. Time is a clock of the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from node.config.cron import trigger_of
from node.config.file import read_config
from node.config.schedule import ScheduleConfig
from node.errors import ConfigError
from node.journal.jobs import JobTable
from node.journal.journal import Journal
from node.journal.states import JobEvent
from node.models import schedule
from node.models.plan import build_plan, cases_below, new_cases
from node.models.schedule import DEFAULTS, Schedule

SUNDAY = datetime(2030, 1, 6, 3, 0, tzinfo=UTC)
CRON = "0 3 * * sun"


class Plan:
    """A schedule on a journal, its cases on disk, and a clock that is moved manually."""

    def __init__(self, folder: Path) -> None:
        self.at = SUNDAY - timedelta(days=3)
        self.folder, self.logged = folder, []  # type: ignore[var-annotated]
        self.journal = Journal.open(folder / "journal.sqlite", self.now)
        (folder / "cases" / "more").mkdir(parents=True)
        (folder / "held.json").write_text('{"schema": 1, "cases": {"case-0": "x"}}')
        self.add(0)
        self.config = ScheduleConfig(
            cron=CRON, data=str(folder / "cases"), held_out=str(folder / "held.json"),
            minimum_new_cases=2, margin=0.03, max_hours=5.0,
        )  # fmt: skip

    def now(self) -> float:
        return self.at.timestamp()

    def add(self, *numbers: int, digest: str = "d", sub: str = "") -> None:
        for n in numbers:
            path = self.folder / "cases" / sub / f"case-{n}.json"
            path.write_text(json.dumps({"digest": f"{digest}{n}"}))
            path.with_suffix(".npz").touch()

    def schedule(self, **changes: Any) -> Schedule:
        config = self.config.model_copy(update=changes)
        return Schedule(config, self.journal, self.now, self.logged.append)

    def noted(self) -> list[str]:
        return [e.event for e in reversed(self.journal.jobs.schedule_events())]

    def compared(self) -> None:
        """Let the open job run to its end."""
        (job,) = self.journal.jobs.active()
        self.journal.jobs.start(job.id, 1, "", job.plan)
        self.journal.jobs.advance(job.id, JobEvent.COMPARISON_FAILED)


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    made = Plan(tmp_path)
    yield made
    made.journal.close()


# ---- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * * 0", "write the weekday as a name"),  # Monday to the library, Sunday to cron
        ("0 3 * * 1-5", "write the weekday as a name"),
        ("0 3 * *", "has 4 fields"),
        ("* * * * * *", "has 6 fields"),
        ("61 3 * * sun", "61"),
        ("0 3 * * son", "son"),
    ],
)
def test_cron_that_would_mean_something_else_is_refused(cron: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trigger_of(cron)


def test_times_are_utc_and_sunday_is_sunday() -> None:
    trigger = trigger_of(CRON)
    assert trigger.get_next_fire_time(None, SUNDAY - timedelta(days=6)) == SUNDAY
    # No hour is left out or doubled where clocks are changed.
    autumn = datetime(2027, 10, 31, tzinfo=UTC)
    first = trigger_of("30 0-2 * * *").get_next_fire_time(None, autumn)
    assert first == autumn + timedelta(minutes=30)
    assert trigger_of("30 0 * * *").get_next_fire_time(first, first + timedelta(seconds=1)) == (
        first + timedelta(days=1)
    )


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ('cron = "0 3 * * 0"', 4, "write the weekday as a name"),
        ('data = "d"\ncron = "0 3 * * sun"', 3, "cron needs held_out"),
        ("margin = 2.0", 4, "must be at most 1"),
        ('crom = ""', 4, 'did you mean "cron"?'),
    ],
)
def test_configuration_names_the_line(tmp_path: Path, lines: str, line: int, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[node]\nae_title = "N"\n[training.schedule]\n{lines}\n')
    with pytest.raises(ConfigError, match=rf":{line}: .*") as caught:
        read_config(path)
    assert message in str(caught.value)


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[node]\nae_title = "N"\n[training.schedule]\ndata = "cases"\n')
    found = read_config(path).training.schedule
    assert (found.data, found.recipe) == (str(tmp_path / "cases"), "")


# ---- what is new ---------------------------------------------------------------------------------


def test_new_are_cases_that_came_or_changed_and_are_not_held_out() -> None:
    now, before = {"a": "1", "b": "2", "c": "3", "h": "9"}, {"a": "1", "b": "0", "gone": "1"}
    assert new_cases(now, before, frozenset("h")) == ["b", "c"]


def test_cases_are_found_one_level_down_and_need_both_files(plan: Plan) -> None:
    plan.add(1, sub="more")
    (plan.folder / "cases" / "half.json").write_text("{}")
    (plan.folder / "cases" / "odd.json").write_text("no json")
    (plan.folder / "cases" / "odd.npz").touch()
    found = cases_below(plan.folder / "cases")
    assert list(found) == ["case-0", "case-1", "odd"]
    assert found["case-1"] == "d1"
    assert len(found["odd"]) == 12


def test_nothing_new_is_recorded_and_enqueues_nothing(plan: Plan) -> None:
    plan.add(1)  # case-0 is held out
    assert plan.schedule().due({}) == "nothing_new"
    (event,) = plan.journal.jobs.schedule_events()
    assert event.detail["reason"] == "1 new cases, minimum is 2 (minimum_new_cases)"
    assert plan.journal.jobs.active() == []


def test_after_a_comparison_only_what_came_since_counts(plan: Plan) -> None:
    plan.add(1, 2)
    assert plan.schedule().due({}) == "enqueued"
    (job,) = plan.journal.jobs.active()
    assert (job.asked_by, job.plan.margin, job.plan.max_hours) == ("schedule", 0.03, 5.0)
    assert list(job.plan.cases) == ["case-0", "case-1", "case-2"]
    plan.compared()
    assert plan.schedule().due({}) == "nothing_new"
    plan.add(3)
    plan.add(1, digest="changed")
    assert plan.schedule().due({}) == "enqueued"


def test_cases_of_a_job_that_was_never_compared_stay_new(plan: Plan) -> None:
    plan.add(1, 2)
    plan.schedule().due({})
    plan.journal.jobs.advance(1, JobEvent.FAULT, detail={"reason": "disk"})
    assert plan.schedule().due({}) == "enqueued"


# ---- overlapping ---------------------------------------------------------------------------------


def test_second_run_is_recorded_and_not_enqueued_while_one_is_open(plan: Plan) -> None:
    plan.add(1, 2, 3)
    plan.schedule().due({})
    assert plan.schedule().due({}) == "overlap"
    plan.journal.jobs.start(1, 1, "", plan.journal.jobs.get(1).plan)
    assert plan.schedule().due({}) == "overlap"
    assert plan.journal.jobs.schedule_events()[0].detail["reason"] == "job 1 is not finished"
    assert len(plan.journal.jobs.in_states()) == 1


def test_run_that_finds_somebody_quicker_is_an_overlap(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.add(1, 2)
    plan.journal.jobs.enqueue(build_plan(plan.config), "manually")
    monkeypatch.setattr(JobTable, "active", lambda _: [])
    assert plan.schedule().due({}) == "overlap"
    assert len(plan.journal.jobs.in_states()) == 1


@pytest.mark.parametrize("key", ["data", "held_out"])
def test_data_that_is_not_there_is_recorded_and_told(plan: Plan, key: str) -> None:
    assert plan.schedule(**{key: "/nowhere"}).due({}) == "refused"
    assert "/nowhere" in plan.journal.jobs.schedule_events()[0].detail["reason"]
    assert [e.step for e in plan.logged] == ["schedule"]


# ---- missed --------------------------------------------------------------------------------------


def test_weeks_missed_while_the_node_was_down_are_one_run(plan: Plan) -> None:
    plan.add(1, 2)
    assert plan.schedule().catch_up() is None  # the first start ever: nothing was missed
    plan.at = SUNDAY + timedelta(days=15)
    assert plan.schedule().catch_up() == SUNDAY
    assert plan.noted() == ["set", "enqueued"]
    assert plan.journal.jobs.schedule_events()[0].detail["missed"] == SUNDAY.isoformat()
    plan.at += timedelta(hours=1)
    assert plan.schedule().catch_up() is None  # a second restart is no second run
    assert len(plan.journal.jobs.in_states()) == 1


def test_restart_before_and_just_after_a_run_misses_nothing(plan: Plan) -> None:
    plan.add(1, 2)
    plan.schedule().catch_up()
    plan.at = SUNDAY - timedelta(seconds=1)
    assert plan.schedule().catch_up() is None
    plan.at = SUNDAY + timedelta(seconds=0.02)
    plan.schedule().due({})  # by the scheduler, in time
    plan.at += timedelta(seconds=5)
    assert plan.schedule().catch_up() is None
    assert plan.noted() == ["set", "enqueued"]


def test_changed_schedule_starts_anew(plan: Plan) -> None:
    plan.schedule().catch_up()
    plan.at = SUNDAY + timedelta(days=1)
    assert plan.schedule(cron="0 4 * * sat").catch_up() is None
    assert plan.noted() == ["set", "set"]


def test_run_that_comes_late_is_still_made(plan: Plan) -> None:
    """The library's own default drops what is later than a second; a suspended machine is hours late."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults=DEFAULTS)
    ran = threading.Event()
    scheduler.start(paused=True)
    late = datetime.now(UTC) - timedelta(hours=5)
    scheduler.add_job(ran.set, "interval", hours=1, next_run_time=late)
    scheduler.resume()
    try:
        assert ran.wait(5)
    finally:
        scheduler.shutdown()


# ---- in the service ------------------------------------------------------------------------------


def test_scheduler_enqueues_in_its_thread_and_ends(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.add(1, 2)
    made: list[BackgroundScheduler] = []

    class Kept(BackgroundScheduler):  # type: ignore[misc]
        def start(self, *given: Any, **named: Any) -> None:
            made.append(self)
            super().start(*given, **named)

    monkeypatch.setattr(schedule, "BackgroundScheduler", Kept)
    end = plan.schedule().start()
    (entry,) = made[0].get_jobs()
    assert entry.misfire_grace_time is None
    assert entry.coalesce
    assert str(entry.trigger.timezone) == "UTC"
    entry.modify(next_run_time=datetime.now(UTC))
    ends_at = time.monotonic() + 5
    while not plan.journal.jobs.active():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    end()
    assert not made[0].running
    assert plan.noted() == ["set", "enqueued"]


def test_fault_of_a_run_is_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    one = plan.schedule()
    one._fault(SimpleNamespace(exception=OSError(28, "disk")))
    one._fault(SimpleNamespace())
    assert [e.error for e in plan.logged] == ["OSError: disk", "a scheduled run was skipped"]
