"""What a person asks for is done while the series is as they saw it, and says who asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.errors import ChangedMeanwhile, IllegalTransition, UnknownUid
from node.journal.journal import Journal
from node.journal.requests import Seen
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, DeliveryState, SeriesEvent, SeriesState

KEY = SeriesKey("1.2.1", "1.2.3")


@pytest.fixture
def sent(journal: Journal, facts: Any, tmp_path: Path) -> Journal:
    """A result that two destinations hold."""
    journal.instances.add(facts(1))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t")
    journal.results.publish(KEY, "t", ResultRow("r1", tmp_path, "d"), ["pacs", "web"])
    for row in journal.deliveries.of_series(KEY):
        journal.deliveries.record_outcomes(row.id, ["seg.dcm"], {})
        journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
        journal.deliveries.advance(row.id, DeliveryEvent.PROOF_FOUND)
    return journal


def _seen(journal: Journal, by: str = "olga") -> Seen:
    return Seen(1, journal.paging.newest_event(1), by)


def _states(journal: Journal) -> list[tuple[str, str, str]]:
    return [(d.destination, d.kind, d.state) for d in journal.deliveries.of_series(KEY)]


def test_the_second_of_two_is_refused_and_hears_who_was_first(sent: Journal) -> None:
    first, second = _seen(sent, "olga"), _seen(sent, "otto")
    sent.requests.retry(first)
    assert sent.series.get(KEY).state is SeriesState.COMPLETE
    with pytest.raises(ChangedMeanwhile, match="retry requested by olga at 2"):
        sent.requests.retry(second)
    sent.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    with pytest.raises(ChangedMeanwhile, match="retry requested by olga"):
        sent.requests.retry(second)


def test_nothing_of_a_refused_request_is_written(sent: Journal) -> None:
    events = len(sent.series.events(KEY))
    old = Seen(1, 1, "otto")
    for ask in (
        lambda: sent.requests.retry(old),
        lambda: sent.requests.redeliver(old, 1),
        lambda: sent.requests.withdraw(old, "r1"),
    ):
        with pytest.raises(ChangedMeanwhile):
            ask()
    assert len(sent.series.events(KEY)) == events


def test_a_confirmed_delivery_is_sent_again_from_the_beginning(sent: Journal) -> None:
    sent.requests.redeliver(_seen(sent), 1)
    row = sent.deliveries.get(1)
    assert (row.state, row.accepted, row.proof, row.tries) == (DeliveryState.PENDING, (), "", 0)
    assert sent.deliveries.get(2).state is DeliveryState.CONFIRMED
    assert sent.series.events(KEY)[-1].detail == {"by": "olga"}
    with pytest.raises(IllegalTransition):  # it is on its way
        sent.requests.redeliver(_seen(sent), 1)


def test_a_series_is_delivered_only_while_every_delivery_of_its_result_is(sent: Journal) -> None:
    assert sent.series.get(KEY).state is SeriesState.DELIVERED
    sent.requests.redeliver(_seen(sent), 1)
    assert sent.series.get(KEY).state is SeriesState.ENCODED
    sent.deliveries.advance(1, DeliveryEvent.PEER_ACCEPTED)
    assert sent.series.get(KEY).state is SeriesState.ENCODED
    sent.deliveries.advance(1, DeliveryEvent.PROOF_FOUND)
    assert sent.series.get(KEY).state is SeriesState.DELIVERED
    assert [e.event for e in sent.series.events(KEY)][-5:] == [
        "retry_requested", "redelivery_requested", "peer_accepted", "proof_found", "all_confirmed",
    ]  # fmt: skip


def test_a_waiting_delivery_is_tried_now(sent: Journal, clock: Any) -> None:
    sent.requests.redeliver(_seen(sent), 1)
    later = clock() + 600
    sent.deliveries.advance(1, DeliveryEvent.TRANSIENT_FAILURE, next_try_at=later)
    assert sent.deliveries.due(clock(), "pacs") == []
    sent.requests.redeliver(_seen(sent), 1)
    assert [d.id for d in sent.deliveries.due(clock(), "pacs")] == [1]
    last = sent.series.events(KEY)[-1]
    assert (last.event, last.detail) == ("wait_ended", {"by": "olga"})


def test_a_result_is_taken_back_everywhere_once(sent: Journal) -> None:
    assert sent.requests.withdraw(_seen(sent), "r1") == 2
    assert _states(sent)[2:] == [
        ("pacs", "withdrawal", "pending"),
        ("web", "withdrawal", "pending"),
    ]
    assert sent.results.of_series(KEY)[0].superseded_because == "withdrawn"
    assert sent.series.get(KEY).forced == 1  # the next result has other UIDs
    requested = [e for e in sent.series.events(KEY) if e.event == "withdrawal_requested"]
    assert [e.detail for e in requested] == [{"by": "olga", "result": "r1"}]
    with pytest.raises(IllegalTransition, match="no destination holds"):
        sent.requests.withdraw(_seen(sent), "r1")
    with pytest.raises(IllegalTransition, match="replaced or taken back"):
        sent.requests.redeliver(_seen(sent), 1)


def test_what_is_not_there_is_unknown(sent: Journal) -> None:
    with pytest.raises(UnknownUid):
        sent.requests.retry(Seen(9, 0, "olga"))
    with pytest.raises(UnknownUid):
        sent.requests.redeliver(_seen(sent), 9)
    with pytest.raises(UnknownUid):
        sent.requests.withdraw(_seen(sent), "r9")
    assert sent.series.get(KEY).forced == 0
