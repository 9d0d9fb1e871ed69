from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node.journal.figures import Figures
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent, SeriesState
from tests.support.clock import Clock
from tests.support.filled_journal import NOW, fill

KEY = SeriesKey("1.2.1", "1.2.3")
Facts = Callable[..., NewInstance]


def _skipped(journal: Journal, reason: str) -> None:
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_REJECT, detail={"reason": reason})


def test_senders_by_state_newest_first(journal: Journal, facts: Facts, clock: Clock) -> None:
    journal.instances.add(facts(1))
    clock.pass_s(5)
    journal.instances.add(facts(2))
    journal.instances.quarantine(facts(3, calling_ae="MR2"), "no pixels")
    first, second = sorted(Figures(journal.database).senders(), key=lambda s: s.sender)
    assert (first.sender, first.state, first.objects, first.bytes) == ("MR1", "stored", 2, 14)
    assert first.last_at == clock.wall()
    assert (second.sender, second.state, second.objects) == ("MR2", "quarantined", 1)


def test_series_by_the_beginning_of_their_reason(journal: Journal, facts: Facts) -> None:
    figures = Figures(journal.database)
    journal.instances.add(facts(1))
    assert figures.series() == [("receiving", "", 1)]
    _skipped(journal, "not a 3D T2 SPACE acquisition: TE 55 ms; not: this")
    assert figures.series() == [("skipped", "not a 3D T2 SPACE acquisition", 1)]
    journal.request_retry("1.2.3")
    journal.series.advance(KEY, SeriesEvent.RULES_REJECT, detail={"reason": "x" * 500})
    assert figures.series() == [("skipped", "x" * 60, 1)]


def test_code_of_the_last_failure(journal: Journal, facts: Facts) -> None:
    journal.instances.add(facts(1))
    for code in ("first", "implausible-labels"):
        journal.series.advance(
            KEY, SeriesEvent.GEOMETRY_COMPLETE
        ) if code == "first" else journal.request_retry("1.2.3")
        journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
        row = journal.series.claim("t/1")
        assert row is not None
        detail = {"reason": "no", "code": code}
        journal.series.advance(KEY, SeriesEvent.REFUSED, expect="t/1", detail=detail)
    assert Figures(journal.database).failure_codes() == {"implausible-labels": 1}


def test_queue_of_each_state_and_what_waits_after_a_fault(
    journal: Journal, facts: Facts, clock: Clock
) -> None:
    figures, began = Figures(journal.database), clock.wall()
    journal.instances.add(facts(1))
    clock.pass_s(60)
    journal.instances.add(facts(2, series_uid="1.2.4"))
    assert figures.queues() == {"receiving": (2, began)}
    _skipped(journal, "")
    assert figures.queues() == {"receiving": (1, clock.wall())}
    journal.series.defer(SeriesKey("1.2.1", "1.2.4"), "track", "disk", clock.wall() + 5)
    assert figures.deferred() == {"track": 1}


def test_deliveries_their_age_and_their_proof(journal: Journal, facts: Facts, clock: Clock) -> None:
    figures = Figures(journal.database)
    journal.instances.add(facts(1))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t/1")
    result = ResultRow("2.25.1", journal.database.root / "results" / "2.25.1", "digest")
    journal.results.publish(KEY, "t/1", result, ["pacs", "web"])
    made, last = clock.wall(), figures.last_move()
    assert figures.oldest_open() == {"pacs": made, "web": made}
    clock.pass_s(7)
    pacs, web = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(pacs.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(pacs.id, DeliveryEvent.PROOF_FOUND)
    journal.deliveries.advance(web.id, DeliveryEvent.PERMANENT_FAILURE, detail={"reason": "no"})
    counted = {(d.destination, d.state): d.number for d in figures.deliveries()}
    assert counted == {("pacs", "confirmed"): 1, ("web", "dead"): 1}
    assert figures.oldest_open() == {}
    assert figures.last_proofs() == {"pacs": clock.wall()}
    moves = [
        (m.event, m.destination, None if m.since is None else m.at - m.since)
        for m in figures.moves_after(last)
    ]
    assert ("peer_accepted", "pacs", 7.0) in moves
    assert ("permanent_failure", "web", 7.0) in moves
    assert journal.series.get(KEY).state is SeriesState.ENCODED


def test_seconds_of_a_stage_begin_with_the_one_before(
    journal: Journal, facts: Facts, clock: Clock
) -> None:
    figures = Figures(journal.database)
    journal.instances.add(facts(1))
    clock.pass_s(10)
    journal.instances.add(facts(2))
    last, before = figures.last_move(), figures.last_object()
    clock.pass_s(30)
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    clock.pass_s(2)
    journal.series.advance(KEY, SeriesEvent.RULES_REJECT, detail={"reason": "no"})
    moves = list(figures.moves_after(last))
    assert [(m.event, m.at - (m.since or 0)) for m in moves] == [
        ("geometry_complete", 30.0),
        ("rules_reject", 2.0),
    ]
    assert list(figures.moves_after(moves[-1].id)) == []
    assert figures.objects_after(before, figures.last_object()) == []
    journal.instances.add(facts(3))
    (came,) = figures.objects_after(before, figures.last_object())
    assert (came.sender, came.state, came.objects, came.bytes) == ("MR1", "stored", 1, 7)


@pytest.mark.serial
def test_hundred_thousand_objects_cost_some_milliseconds(tmp_path: Path) -> None:
    figures = Figures(fill(tmp_path / "journal.sqlite", 5000, 20).database)
    asked = (figures.series, figures.failure_codes, figures.queues, figures.deferred, figures.senders, figures.deliveries,
             figures.oldest_open, figures.last_proofs)  # fmt: skip
    costs = []
    for _ in range(5):
        began = time.thread_time()
        for ask in asked:
            ask()
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.05, costs
    assert figures.judged_since(NOW - 30 * 86_400)
    assert sum(s.objects for s in figures.senders()) == 100_000
    assert max(s.last_at for s in figures.senders()) == NOW
