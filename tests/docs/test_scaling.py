"""The simulation agrees with what queueing theory knows, loses no study, and the page shows what it found."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import fmean
from types import SimpleNamespace

import pytest

from tests.support.filled_journal import fill
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
NAMES = ("scaling_day", "scaling_times", "scaling_tables", "scaling_plots", "scaling")
CUSTOMERS = 30_000
LOAD = 0.5


@pytest.fixture(scope="module")
def docs() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(DOCS))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    finally:
        sys.path.remove(str(DOCS))


def poisson(rate: float, number: int, seed: int) -> list[float]:
    random, now, times = Random(seed), 0.0, []
    for _ in range(number):
        now += random.expovariate(rate)
        times.append(now)
    return times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "mean_s"),
    [("exponential", 1 / (1 - LOAD)), ("constant", 1 + LOAD / (2 * (1 - LOAD)))],
    ids=["M/M/1", "M/D/1"],
)
def test_mean_time_in_a_line_of_one_slot_is_that_of_the_formula(
    docs: SimpleNamespace, law: str, mean_s: float
) -> None:
    day = docs.scaling_day
    service = day.Service(0, 0, 1.0, 0, 0, getattr(day, law))
    outcome = day.simulate(poisson(LOAD, CUSTOMERS, 5), day.Site(1, 1), service, 3)
    assert fmean(outcome.ages_s) == pytest.approx(mean_s, rel=0.05)
    assert outcome.busy_s / LOAD == pytest.approx(2 * CUSTOMERS, rel=0.02)  # each is served 1 s


@pytest.mark.slow
def test_mean_wait_for_two_slots_is_that_of_erlang(docs: SimpleNamespace) -> None:
    day = docs.scaling_day
    service = day.Service(0, 0, 1.0, 0, 0, day.exponential)
    outcome = day.simulate(poisson(2 * LOAD, CUSTOMERS, 6), day.Site(1, 2), service, 4)
    waits_s = LOAD**2 / (1 - LOAD**2)  # M/M/2
    assert fmean(outcome.waits_s) == pytest.approx(waits_s, rel=0.05)


def test_age_of_a_study_is_the_sum_of_its_steps(docs: SimpleNamespace) -> None:
    day = docs.scaling_day
    service = day.Service(2.0, 0.2, 1.0, 3.0, 0.5)
    outcome = day.simulate([10.0], day.Site(1, 1), service, 0)
    assert outcome.ages_s == pytest.approx([6.7])
    # The second is received while the first is worked on, and waits for the rest: 4 + 0.5 s after it.
    outcome = day.simulate([10.0, 10.0], day.Site(1, 1), service, 0)
    assert outcome.ages_s == pytest.approx([6.7, 10.7])
    assert outcome.waits_s == pytest.approx([0.0, 2.0])


def test_a_card_serves_one_slot_at_a_time(docs: SimpleNamespace) -> None:
    day = docs.scaling_day
    service = day.Service(0, 0, 2.0, 1.0, 0)
    shared = day.simulate([0.0, 0.0], day.Site(1, 2, cards=1), service, 0)
    assert shared.ages_s == pytest.approx([3.0, 5.0])
    own = day.simulate([0.0, 0.0], day.Site(1, 2), service, 0)
    assert own.ages_s == pytest.approx([3.0, 3.0])


def test_slots_share_the_cores_of_their_machine_where_networks_run_elsewhere(
    docs: SimpleNamespace,
) -> None:
    day = docs.scaling_day
    service = day.Service(0, 0, 2.0, 3.0, 0)
    outcome = day.simulate([0.0] * 3, day.Site(1, 3, cards=3, pairs=1), service, 0)
    assert outcome.ages_s == pytest.approx([5.0, 8.0, 11.0])


@pytest.mark.parametrize("cards", [0, 1])
@pytest.mark.parametrize("machine", [False, True], ids=["worker", "machine"])
def test_no_study_is_lost_or_doubled_when_workers_die(
    docs: SimpleNamespace, machine: bool, cards: int
) -> None:
    day = docs.scaling_day
    failure = day.Failure(every_s=200, noticed_s=30, back_s=60, machine=machine)
    service = day.Service(0.5, 0.2, 4.0, 4.0, 0.5, day.log_normal(0.25))
    came = poisson(0.1, 400, 7)
    outcome = day.simulate(came, day.Site(2, 2, cards, failure), service, 8)
    failed = sum(age is None for age in outcome.ages_s)
    assert len(outcome.ages_s) == 400 == outcome.delivered + failed
    assert outcome.lost >= 5
    # Every claim ended with a delivery, or with a worker: a study is taken once for each of the two.
    assert len(outcome.waits_s) == outcome.delivered + outcome.lost
    assert min(age for age in outcome.ages_s if age is not None) > 1.2
    slowest = max(age for age in outcome.ages_s if age is not None)
    assert slowest > 30  # it waited until the death of its worker was noticed


def test_a_study_that_ends_every_worker_is_failed_after_three(docs: SimpleNamespace) -> None:
    day = docs.scaling_day
    failure = day.Failure(every_s=1.0, noticed_s=1.0, back_s=1.0)
    outcome = day.simulate(
        [0.0], day.Site(1, 1, failure=failure), day.Service(0, 0, 500.0, 0, 0), 1
    )
    assert outcome.ages_s == [None]
    assert outcome.lost == 3
    assert outcome.age_s(0.99) == math.inf


def test_arrivals_follow_the_hours(docs: SimpleNamespace) -> None:
    hours = docs.scaling_times.HOURS
    came = docs.scaling_day.arrivals(20_000, hours, 9)
    assert came == sorted(came)
    assert len(came) == pytest.approx(20_000, rel=0.03)
    from_9_to_10 = sum(9 * 3600 <= at < 10 * 3600 for at in came)
    assert from_9_to_10 / len(came) == pytest.approx(hours[9] / sum(hours), rel=0.1)
    two_days = docs.scaling_day.arrivals(500, hours, 9, days=2)
    assert 86400 < max(two_days) < 172800
    assert len(two_days) == pytest.approx(1000, rel=0.1)


def test_most_a_day_is_near_what_a_slot_can_take_in_the_busiest_hour(
    docs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, hours = docs.scaling_day, docs.scaling_times.HOURS
    monkeypatch.setattr(day, "ENOUGH", 2000)
    service = day.Service(0, 0, 20.0, 0, 0)
    full = 3600 / 20 * sum(hours) / max(hours)
    most = day.most_per_day(day.Site(1, 1), service, hours, 600, 1)
    assert 0.85 * full < most < 1.1 * full
    assert day.most_per_day(day.Site(1, 1), service, hours, 15, 1) == 0


def test_same_seed_gives_the_same_table(docs: SimpleNamespace) -> None:
    scaling, base = docs.scaling, docs.scaling_times.measured()
    for setup in scaling.SETUPS[1:4]:
        assert scaling.ages(100, setup, base) == scaling.ages(100, setup, base)


def test_numbers_of_the_page_are_those_of_the_script(docs: SimpleNamespace) -> None:
    held = json.loads((DOCS / "scaling.json").read_text())
    scaling, base = docs.scaling, docs.scaling_times.measured()
    assert [line["name"] for line in held["setups"]] == [s.name for s in scaling.SETUPS]
    assert held["slot_s"] == pytest.approx(base.slot_s, abs=0.01)
    few = str(scaling.USUAL[0])
    for setup, line in zip(scaling.SETUPS, held["setups"], strict=True):
        found = scaling.ages(scaling.USUAL[0], setup, base)
        assert line["ages"][few] == pytest.approx(found, rel=0.01, abs=0.11)


@pytest.mark.slow
def test_rows_of_the_page_are_those_of_the_script(docs: SimpleNamespace) -> None:
    held = json.loads((DOCS / "scaling.json").read_text())
    scaling, base = docs.scaling, docs.scaling_times.measured()
    for place in (0, 2):
        found = scaling.row(scaling.SETUPS[place], base)
        line = held["setups"][place]
        assert (line["most"], line["most_slow"]) == (found["most"], found["most_slow"])
        assert line["ages"] == {n: pytest.approx(a, rel=0.01, abs=0.11) for n, a in found["ages"].items()}  # fmt: skip


def test_tables_and_plots_show_the_numbers(docs: SimpleNamespace, tmp_path: Path) -> None:
    held = json.loads((DOCS / "scaling.json").read_text())
    tables = docs.scaling_tables
    assert f"{held['setups'][0]['most']:,}" in tables.setups(held)
    dear = tables.prices(held, {"core-hour": 1.0, "card-hour": 0.0, "gb-month": 0.0})
    assert "| 1 box, 2 cores | 960.00 | 240.00 | 48.00 | 9.60 |" in dear  # 48 core-hours a day
    assert "| disk, on top | 0.00 |" in dear
    assert "| 200 | 22 GB |" in tables.disk(held)  # (26 + 52 + 32) MB × 200
    docs.scaling_plots.draw(held, tmp_path)
    for picture in sorted(tmp_path.iterdir()):
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert (DOCS / "images" / picture.name).stat().st_size <= 100_000


def test_times_come_from_results_and_from_a_journal(docs: SimpleNamespace, tmp_path: Path) -> None:
    times = docs.scaling_times
    paths = []
    for number, load_s in enumerate((1.0, 2.0, 3.0)):
        path = tmp_path / f"{number}.json"
        inside = {"load": load_s, "segment": 4.0, "measure": 1.0, "segment.level": 1.0}
        path.write_text(json.dumps({"timings_s": inside}))
        paths.append(path)
    service = times.service_of(paths)
    assert service.segment_s == 4.0
    assert service.slot_s == pytest.approx(2.0 + 4.0 + 1.0 + times.ENCODE.value)
    assert service.deliver_s == times.DELIVER.value

    fill(tmp_path / "journal.sqlite", series=20, objects=2).close()
    service = times.service_of([tmp_path / "journal.sqlite"])
    assert service.slot_s == pytest.approx(1.0)  # from its claim to its result
    assert service.complete_s == pytest.approx(1.0)

    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    with pytest.raises(times.NoTimes, match=r"empty\.json"):
        times.service_of([empty])
