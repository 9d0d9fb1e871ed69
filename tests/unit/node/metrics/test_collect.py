from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from node import events
from node.journal.corrections import CorrectionState, Judgement
from node.journal.figures import Figures
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent
from node.metrics import collect
from node.metrics.catalogue import METRICS
from node.metrics.collect import Collector, Sources, reason_class
from node.metrics.stages import Stages
from node.metrics.tally import MAX_NAMES, OTHER, Tally
from node.observe.health import Health, Vitals
from node.store.selftest_history import SelftestRow
from tests.support.clock import Clock
from tests.support.exposition import Family, parse
from tests.support.filled_journal import fill

KEY = SeriesKey("1.2.1", "1.2.3")
Facts = Callable[..., NewInstance]
VITALS = Vitals({"track": 0.5}, (), 1, 2, 5000, 1024, cluster_slots=3)


@pytest.fixture
def collector(journal: Journal, clock: Clock, monkeypatch: Any) -> Collector:
    monkeypatch.setattr(collect, "FRESH_S", 0.0)
    figures, tally = Figures(journal.database), Tally()
    sources = Sources(
        health=lambda: Health((), ("1 of 2 workers ready",), VITALS),
        version="1.2.3",
        model=lambda: ("lumbar-l45", "0.10.0", "abc"),
        memory=lambda: {"w1": 5e8},
        sizes=lambda: 12,
        attention=lambda: {"delivery": 3},
        alarms=lambda: {("MR1", "Room 3"): 5},
        selftest=lambda: SelftestRow(1.0, "passed", "", "b", "d", "e", "v", "s", drift_mm=0.0),
        certificates=lambda: {"certificate": 1.8e9},
        journal=journal.database.path,
        disk_high_mb=2048,
        destinations=("pacs", "web"),
    )
    return Collector(figures, tally, Stages(figures, tally), sources, clock.wall)


def _scrape(collector: Collector) -> dict[str, Family]:
    return {name.removeprefix("lumbar_node_"): f for name, f in parse(collector.text()).items()}


def test_way_of_one_series_in_numbers(
    collector: Collector, journal: Journal, facts: Facts, clock: Clock, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    journal.instances.add(facts(2))
    journal.instances.quarantine(facts(3), "no pixels")
    clock.pass_s(30)
    found = _scrape(collector)
    assert found["objects_received_total"].value(sender="MR1", outcome="stored") == 2
    assert found["objects_received_total"].value(sender="MR1", outcome="quarantined") == 1
    assert found["received_bytes_total"].value(sender="MR1") == 21
    assert found["sender_last_received_timestamp_seconds"].value(sender="MR1") == clock.wall() - 30
    assert found["queue_oldest_seconds"].value(step="track") == 30
    assert found["queue_length"].value(step="track") == 1
    assert found["series"].value(state="receiving", reason="") == 1
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t/1")
    clock.pass_s(4)
    result = ResultRow("2.25.1", tmp_path / "results" / "2.25.1", "digest")
    journal.results.publish(KEY, "t/1", result, ["pacs"])
    found = _scrape(collector)
    assert found["delivery_oldest_seconds"].value(destination="pacs") == 0
    assert found["delivery_oldest_seconds"].value(destination="web") == 0
    clock.pass_s(3)
    (row,) = journal.deliveries.of_series(KEY)
    assert _scrape(collector)["delivery_oldest_seconds"].value(destination="pacs") == 3
    journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(row.id, DeliveryEvent.PROOF_FOUND)
    found = _scrape(collector)
    stage = found["stage_seconds"]
    assert stage.value("_sum", stage="complete") == 30
    assert stage.value("_sum", stage="process") == 4
    assert stage.value("_sum", stage="deliver") == 3
    assert stage.value("_bucket", stage="process", le="2.5") == 0
    assert stage.value("_bucket", stage="process", le="5") == 1
    assert found["delivery_events_total"].value(destination="pacs", event="proof_found") == 1
    assert found["series_events_total"].value(event="results_published") == 1
    assert found["deliveries"].value(destination="pacs", kind="result", state="confirmed") == 1
    assert (
        found["destination_last_proof_timestamp_seconds"].value(destination="pacs") == clock.wall()
    )
    assert found["series"].value(state="delivered", reason="") == 1


def test_node_and_process(collector: Collector) -> None:
    found = _scrape(collector)
    assert found["info"].value(version="1.2.3") == 1
    assert found["model_info"].value(name="lumbar-l45", version="0.10.0", digest="abc") == 1
    assert (found["live"].value(), found["ready"].value()) == (1, 0)
    assert (found["workers_ready"].value(), found["workers"].value()) == (1, 2)
    assert found["cluster_slots"].value() == 3
    assert found["disk_free_bytes"].value() == 5e9
    assert found["disk_low_bytes"].value() == 1_024_000_000
    assert found["worker_resident_memory_bytes"].value(worker="w1") == 5e8
    assert found["result_bytes"].value() == 12
    assert found["attention"].value(kind="delivery") == 3
    assert found["protocol_alarm"].value(sender="MR1", station="Room 3") == 5
    assert found["certificate_expiry_timestamp_seconds"].value(key="certificate") == 1.8e9
    assert found["journal_bytes"].value() > 0
    assert found["process_resident_memory_bytes"].value() > 1e6
    assert found["process_start_time_seconds"].value() > 1.6e9


def test_counters_begin_with_the_process_and_gauges_do_not(
    collector: Collector, journal: Journal, facts: Facts, clock: Clock
) -> None:
    journal.instances.add(facts(1))
    _scrape(collector)
    figures, tally = collector.figures, Tally()
    after = Collector(figures, tally, Stages(figures, tally), collector.sources, clock.wall)
    found = _scrape(after)
    assert "objects_received_total" not in found
    assert found["objects"].value(state="stored") == 1
    tally.hear(
        "AssociationEnded", asdict(events.AssociationEnded("p", "MR1", 0, 4, "released", ""))
    )
    found = _scrape(after)
    assert found["objects_received_total"].value(sender="MR1", outcome="same") == 4


def test_thousand_calling_ae_titles_are_fifty_and_other(
    collector: Collector, journal: Journal, facts: Facts
) -> None:
    for n in range(MAX_NAMES + 30):
        journal.instances.add(facts(n, calling_ae=f'AE{n}"\n'))
    found = _scrape(collector)
    for name in ("sender_last_received_timestamp_seconds", "received_bytes_total"):
        senders = {dict(labels)["sender"] for _, labels in found[name].samples}
        assert len(senders) == MAX_NAMES + 1
        assert OTHER in senders
    assert found["received_bytes_total"].value(sender=OTHER) == 30 * 7


def test_clients_within_a_second_share_one_text(
    collector: Collector, journal: Journal, facts: Facts, monkeypatch: Any
) -> None:
    monkeypatch.setattr(collect, "FRESH_S", 60.0)
    first = collector.text()
    journal.instances.add(facts(1))
    assert collector.text() is first


@pytest.mark.parametrize(
    ("state", "head", "expected"),
    [
        ("skipped", "not a 3D T2 SPACE acquisition", "not a 3D T2 SPACE acquisition"),
        ("skipped", "duplicate reconstruction of series 5 'Smith'", "duplicate reconstruction"),
        ("skipped", "Smith^John", OTHER),
        ("failed", "unexpected", "unexpected"),
        ("failed", "", OTHER),
        ("incomplete", "slices 3 and 4 are missing", ""),
        ("delivered", "", ""),
    ],
)
def test_reasons_are_few(state: str, head: str, expected: str) -> None:
    assert reason_class(state, head) == expected


def test_every_metric_can_be_seen(
    collector: Collector, journal: Journal, facts: Facts, clock: Clock, tmp_path: Path
) -> None:
    test_way_of_one_series_in_numbers(collector, journal, facts, clock, tmp_path)
    journal.pulls.ask("archive", "1.2.1", by="anna")
    (seg,) = journal.instances.named("1.2.3.1")
    journal.corrections.record(seg, 1.0, Judgement(CorrectionState.REFUSED, "no-disc", "none"))
    journal.instances.add(facts(9, series_uid="1.2.9"))
    journal.series.defer(SeriesKey("1.2.1", "1.2.9"), "track", "disk", clock.wall())
    for event in (
        events.AssociationRefused("p", "no"),
        events.StepFailed("track", "disk"),
        events.WorkerEnded("w1", 1, "x", 1, 1.0),
        events.SeriesPurged("1.2.3", "delivered", "old", 64, 13_000_000),
        events.QuarantinePurged("old", 2, 400_000),
        events.PullEnded("archive", "1.2.1", "done", 3, 3, 0, ""),
    ):
        collector.tally.hear(type(event).__name__, asdict(event))
    assert set(parse(collector.text())) == {m.name for m in METRICS}


@pytest.mark.serial
def test_scrape_of_a_large_journal_costs_little(
    collector: Collector, tmp_path: Path, clock: Clock
) -> None:
    figures, tally = Figures(fill(tmp_path / "large.sqlite", 5000, 20).database), Tally()
    large = Collector(figures, tally, Stages(figures, tally), collector.sources, clock.wall)
    costs = []
    for _ in range(5):
        began = time.thread_time()
        text = large.text()
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.05, costs
    assert parse(text)["lumbar_node_objects"].value(state="stored") == 100_000
