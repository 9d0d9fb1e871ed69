"""Results in the order of their doubt, and decisions of physicians: each once, with what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.errors import ChangedMeanwhile, UnknownUid
from node.journal.journal import Journal
from node.journal.reviews import Decision
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent

KEY = SeriesKey("1.2.1", "1.2.3")


def _published(
    journal: Journal, facts: Any, folder: Path, number: int, names: tuple[str, ...] = ()
) -> str:
    """Publish a result of a series of its own."""
    key = SeriesKey("1.2.1", f"1.2.{number}")
    journal.instances.add(
        facts(number, digest=f"d{number}", series_uid=key.series, sop_instance_uid=f"9.{number}")
    )
    journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t")
    journal.results.publish(key, "t", ResultRow(f"r{number}", folder / f"r{number}", "d"), names)
    return f"r{number}"


@pytest.fixture
def three(journal: Journal, facts: Any, tmp_path: Path, clock: Any) -> Journal:
    """Results r1, r2, r3 of doubts 10, 30, 10."""
    for number, doubt in ((1, 10.0), (2, 30.0), (3, 10.0)):
        clock.pass_s(1.0)
        _published(journal, facts, tmp_path, number)
        journal.reviews.weigh(f"r{number}", doubt, [{"code": "x", "weight": doubt, "text": "t"}])
    return journal


def _listed(journal: Journal) -> list[str]:
    return [r.result_id for r in journal.reviews.page(None, 9)]


def test_the_worst_is_first_and_of_equal_ones_the_newest(three: Journal) -> None:
    assert _listed(three) == ["r2", "r3", "r1"]
    first = three.reviews.page(None, 1)[0]
    assert (first.doubt, first.series, first.doubts[0]["text"]) == (
        30.0, SeriesKey("1.2.1", "1.2.2"), "t",
    )  # fmt: skip


def test_pages_join_without_a_gap_in_both_directions(three: Journal) -> None:
    (first,) = three.reviews.page(None, 1)
    (second,) = three.reviews.page(first.place, 1)
    (third,) = three.reviews.page(second.place, 1)
    assert [r.result_id for r in (first, second, third)] == ["r2", "r3", "r1"]
    assert three.reviews.page(third.place, 9) == []
    back = three.reviews.page(third.place, 9, before=True)
    assert [r.result_id for r in back] == ["r2", "r3"]


def test_the_list_is_a_walk_along_its_index(three: Journal) -> None:
    place = three.reviews.page(None, 1)[0].place
    seen: list[str] = []
    three.database.connection.set_trace_callback(seen.append)
    three.reviews.page(place, 50)
    three.reviews.not_weighed(50)
    three.database.connection.set_trace_callback(None)
    for sql, index in zip(seen, ("result_to_review", "result_not_weighed"), strict=True):
        plan = [r["detail"] for r in three.database.query(f"EXPLAIN QUERY PLAN {sql}")]
        assert index in plan[0], plan
        assert not any("TEMP B-TREE" in line for line in plan), plan


def test_what_was_not_weighed_is_not_listed_and_is_wanted(
    three: Journal, facts: Any, tmp_path: Path
) -> None:
    _published(three, facts, tmp_path, 4)
    assert "r4" not in _listed(three)
    assert three.reviews.not_weighed(9) == {"r4": tmp_path / "r4"}
    three.reviews.weigh("r4", 0.0, [])
    assert (_listed(three)[-1], three.reviews.not_weighed(9)) == ("r4", {})


def test_what_counts_no_more_leaves_the_list(three: Journal, clock: Any) -> None:
    three.reviews.confirm("r2", "meier", "Klinik", [])
    assert _listed(three) == ["r3", "r1"]
    three.reviews.reject("r3", "meier", "outline")
    assert _listed(three) == ["r1"]
    three.purges.record_missing_result("r1")
    assert _listed(three) == []


def test_a_confirmation_is_kept_with_a_delivery_for_each_destination(
    three: Journal, clock: Any
) -> None:
    made = three.reviews.confirm("r1", "meier", "Klinik", ["pacs", "web"])
    assert made == Decision("confirmed", "meier", clock(), "", "Klinik")
    assert three.reviews.decision("r1") == made
    rows = three.deliveries.of_series(SeriesKey("1.2.1", "1.2.1"))
    assert [(d.destination, d.kind, d.state) for d in rows] == [
        ("pacs", "verified", "pending"), ("web", "verified", "pending"),
    ]  # fmt: skip
    events = three.series.events(SeriesKey("1.2.1", "1.2.1"))
    decided = [e for e in events if e.event == "review_confirmed"]
    assert [e.detail for e in decided] == [{"by": "meier", "result": "r1"}]


@pytest.mark.parametrize("second", ["confirm", "reject"])
@pytest.mark.parametrize("first", ["confirm", "reject"])
def test_the_second_of_two_hears_who_was_first(three: Journal, first: str, second: str) -> None:
    def decide(how: str, by: str) -> None:
        if how == "confirm":
            three.reviews.confirm("r1", by, "Klinik", ["pacs"])
        else:
            three.reviews.reject("r1", by, "outline")

    decide(first, "meier")
    events = len(three.series.events(SeriesKey("1.2.1", "1.2.1")))
    with pytest.raises(ChangedMeanwhile, match=f"meier {first}ed this result at 2"):
        decide(second, "otto")
    assert len(three.series.events(SeriesKey("1.2.1", "1.2.1"))) == events
    assert three.reviews.decision("r1").by == "meier"


def test_nothing_is_decided_of_what_is_not_there_or_counts_no_more(three: Journal) -> None:
    with pytest.raises(UnknownUid):
        three.reviews.confirm("r9", "meier", "Klinik", [])
    with pytest.raises(UnknownUid):
        three.reviews.decision("r9")
    three.purges.record_missing_result("r1")
    with pytest.raises(ChangedMeanwhile, match="replaced, taken back or removed"):
        three.reviews.confirm("r1", "meier", "Klinik", [])


def test_a_rejection_takes_back_what_is_held_and_ends_what_is_on_its_way(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _published(journal, facts, tmp_path, 3, ("pacs", "web"))
    first, second = journal.deliveries.of_series(KEY)
    journal.deliveries.record_outcomes(first.id, ["seg.dcm"], {})
    journal.deliveries.advance(first.id, DeliveryEvent.PEER_ACCEPTED)
    assert journal.reviews.reject("r3", "meier", "wrong_level") == 1
    (result,) = journal.results.of_series(KEY)
    assert result.superseded_because == "withdrawn"
    kinds = [(d.destination, d.kind, d.state) for d in journal.deliveries.of_series(KEY)]
    assert kinds[2:] == [("pacs", "withdrawal", "pending")]
    assert journal.deliveries.get(second.id).because == "withdrawn"  # the step ends it
    assert journal.series.get(KEY).forced == 1
    assert journal.reviews.decision("r3").reason == "wrong_level"


def test_a_verified_report_does_not_hold_up_its_series_and_ends_with_its_result(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _published(journal, facts, tmp_path, 3, ("pacs",))
    journal.reviews.confirm("r3", "meier", "Klinik", ["pacs"])
    result, verified = journal.deliveries.of_series(KEY)
    for event in (DeliveryEvent.PEER_ACCEPTED, DeliveryEvent.PROOF_FOUND):
        journal.deliveries.advance(result.id, event)
    assert journal.series.get(KEY).state == "delivered"
    assert journal.deliveries.get(verified.id).state == "pending"
    journal.instances.add(facts(8, digest="late", sop_instance_uid="9.8"))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t")
    journal.results.publish(KEY, "t", ResultRow("r5", tmp_path / "r5", "d"), ["pacs"])
    assert (journal.deliveries.get(verified.id).state, journal.deliveries.get(verified.id).detail) == ("dead", "superseded")  # fmt: skip
