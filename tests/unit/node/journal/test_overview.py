"""Queries over all series: order, filters, senders and a file of each series."""

from __future__ import annotations

from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.overview import Sender, SeriesFilter
from node.journal.rows import SeriesKey
from node.journal.states import SeriesEvent, SeriesState

START = 1_700_000_000.0


@pytest.fixture
def filled(journal: Journal, facts: Any, clock: Any) -> Journal:
    """Three series, a minute apart; the second is of another sender, the third is incomplete."""
    for number, sender in enumerate(("MR1", "MR2", "MR1")):
        ids = {"study_uid": f"1.1.{number}", "series_uid": f"1.2.{number}"}
        journal.instances.add(facts(number, calling_ae=sender, **ids))
        clock.pass_s(60)
    key = SeriesKey("1.1.2", "1.2.2")
    journal.series.advance(key, SeriesEvent.WENT_QUIET, detail={"reason": "received 1 of 2"})
    return journal


def _found(journal: Journal, wanted: SeriesFilter, limit: int | None = None) -> list[str]:
    rows = [row.key.series for row in journal.overview.newest(wanted, limit)]
    if limit is None:
        assert journal.overview.count(wanted) == len(rows)
    return rows


def test_newest_first_with_every_filter(filled: Journal, facts: Any) -> None:
    assert _found(filled, SeriesFilter()) == ["1.2.2", "1.2.1", "1.2.0"]
    assert _found(filled, SeriesFilter(), 1) == ["1.2.2"]
    assert _found(filled, SeriesFilter(since=START + 60)) == ["1.2.2", "1.2.1"]
    assert _found(filled, SeriesFilter(sender="MR1")) == ["1.2.2", "1.2.0"]
    assert _found(filled, SeriesFilter(SeriesState.INCOMPLETE)) == ["1.2.2"]
    assert _found(filled, SeriesFilter(SeriesState.RECEIVING, START + 60, "MR2")) == ["1.2.1"]
    assert _found(filled, SeriesFilter(SeriesState.QUARANTINED)) == []
    ids = {"study_uid": "1.1.0", "series_uid": "1.2.0"}
    filled.instances.quarantine(facts(9, **ids), "broken")
    assert _found(filled, SeriesFilter(SeriesState.QUARANTINED)) == ["1.2.0"]


def test_senders_have_their_last_object(filled: Journal) -> None:
    assert filled.overview.senders() == [
        Sender("MR1", START + 120, 2),
        Sender("MR2", START + 60, 1),
    ]


def test_sample_file_is_the_first_of_its_series(filled: Journal, facts: Any) -> None:
    ids = {"study_uid": "1.1.0", "series_uid": "1.2.0"}
    filled.instances.add(facts(8, **ids))
    rows = filled.overview.newest(SeriesFilter())
    files = filled.overview.sample_files([row.id for row in rows if row.key.series != "1.2.1"])
    assert {row.key.series: files[row.id].name for row in rows if row.id in files} == {
        "1.2.0": "d0.dcm", "1.2.2": "d2.dcm",
    }  # fmt: skip
    assert filled.overview.sample_files([]) == {}
