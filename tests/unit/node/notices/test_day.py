from __future__ import annotations

from collections.abc import Callable

from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent
from node.notices.day import DAY_S, read_day, read_recent
from tests.support.clock import Clock

KEY = SeriesKey("1.2.1", "1.2.3")


def test_numbers_of_a_day_and_only_of_it(
    journal: Journal, facts: Callable[..., NewInstance], clock: Clock
) -> None:
    journal.instances.add(facts(1))
    journal.instances.quarantine(facts(2), "no pixels")
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t/1")
    result = ResultRow("2.25.1", journal.database.root / "results" / "2.25.1", "digest")
    journal.results.publish(KEY, "t/1", result, ["pacs"])
    (row,) = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(row.id, DeliveryEvent.PROOF_FOUND)
    day = read_day(journal, clock.wall())
    assert (day.objects, day.senders) == (2, {"MR1": 2})
    assert day.series == {"complete": 1, "selected": 1, "processed": 1, "delivered": 1}
    assert day.deliveries == {"verified": 1}
    assert read_recent(journal, clock.wall()).quarantined == 1
    journal.request_retry("1.2.3", force=True)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t/2")
    journal.series.advance(KEY, SeriesEvent.REFUSED, expect="t/2", detail={"reason": "labels"})
    assert read_recent(journal, clock.wall()).failed == {"labels": 1}
    clock.pass_s(DAY_S + 1)
    later = read_day(journal, clock.wall())
    assert (later.objects, later.senders, later.series, later.deliveries) == (0, {}, {}, {})
    recent = read_recent(journal, clock.wall())
    assert (recent.failed, recent.quarantined) == ({}, 0)
