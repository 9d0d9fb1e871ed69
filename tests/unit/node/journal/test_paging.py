"""Pages of series: order, places, filters, and that each question is answered by an index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.errors import UnknownUid
from node.journal.journal import Journal
from node.journal.paging import DeliveryCount, PageFilter, Place
from node.journal.states import SeriesState
from tests.support.filled_journal import NOW, SECONDS_BETWEEN, fill


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return fill(tmp_path_factory.mktemp("many") / "journal.sqlite", 60, 2)


def _ids(journal: Journal, wanted: PageFilter, place: Place | None, **options: bool) -> list[int]:
    return [row.id for row in journal.paging.page(wanted, place, 7, **options)]


def test_pages_follow_one_another_without_a_gap(many: Journal) -> None:
    seen: list[int] = []
    place = None
    while rows := many.paging.page(PageFilter(), place, 7):
        seen += [row.id for row in rows]
        place = Place(rows[-1].last_at, rows[-1].id)
    assert seen == list(range(60, 0, -1))


def test_series_of_one_moment_are_told_apart_by_their_row(many: Journal, tmp_path: Path) -> None:
    with many.database.transaction() as tx:
        before = [(r["id"], r["last_at"]) for r in tx.execute("SELECT id, last_at FROM series")]
        tx.execute("UPDATE series SET last_at = ?", (NOW,))
    assert _ids(many, PageFilter(), Place(NOW, 20)) == [19, 18, 17, 16, 15, 14, 13]
    assert _ids(many, PageFilter(), Place(NOW, 20), newer=True) == [27, 26, 25, 24, 23, 22, 21]
    with many.database.transaction() as tx:
        for number, at in before:
            tx.execute("UPDATE series SET last_at = ? WHERE id = ?", (at, number))


def test_filters(many: Journal) -> None:
    assert _ids(many, PageFilter(SeriesState.DELIVERED), None) == [60, 50, 40, 30, 20, 10]
    since, until = NOW - 3 * SECONDS_BETWEEN, NOW
    assert _ids(many, PageFilter(since=since, until=until), None) == [59, 58, 57]
    assert _ids(many, PageFilter(SeriesState.QUARANTINED), None) == []


def test_what_belongs_to_a_page(many: Journal) -> None:
    assert many.paging.senders_of([1, 7]) == {1: "MR1", 7: "MR2"}
    assert many.paging.deliveries_of([9, 10]) == {10: [DeliveryCount("confirmed", 2)]}
    assert many.paging.newest_event(1) > 0 == many.paging.newest_event(10_000)
    assert many.paging.row(3).key.series == "1.3.3"
    assert [row.id for row in many.paging.rows([3, 9])] == [9, 3]
    with pytest.raises(UnknownUid):
        many.paging.row(61)


def test_senders_and_backlog(many: Journal) -> None:
    assert many.paging.senders_seen() == {f"MR{n}": NOW - (5 - n) % 5 * SECONDS_BETWEEN for n in range(5)}  # fmt: skip
    assert many.paging.backlog() == {}
    with many.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'waiting' WHERE destination = 'web'")
        tx.execute(
            "UPDATE delivery SET state = 'dead', detail = 'superseded' WHERE destination = 'pacs'"
        )
    assert many.paging.backlog() == {"web": {"waiting": 6}}
    with many.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed', detail = ''")


def test_no_page_reads_every_series(many: Journal) -> None:
    asked: list[str] = []
    many.database.connection.set_trace_callback(asked.append)
    many.paging.page(PageFilter(), Place(NOW, 5), 7)
    many.paging.page(PageFilter(SeriesState.SKIPPED), Place(NOW, 5), 7)
    many.paging.page(PageFilter(since=NOW - 9, until=NOW), None, 7)
    many.database.connection.set_trace_callback(None)
    assert len(asked) == 3
    for sql in asked:
        plan = [r["detail"] for r in many.database.query(f"EXPLAIN QUERY PLAN {sql}")]
        assert re.match(r"SEARCH series USING INDEX series_by_(time|state)", plan[0]), plan
        assert not [line for line in plan if "TEMP B-TREE" in line]
