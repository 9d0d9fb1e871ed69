"""The steps that a series has gone, from the events of a real journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.console.way import STEPS, way
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent, SeriesState
from node.observe.explain import why_series

KEY = SeriesKey("1.2.1", "1.2.3")


def _steps(journal: Journal) -> list[tuple[str, str]]:
    (explained,) = why_series(journal, [journal.series.get(KEY)])
    return [(s.name, s.status) for s in way(explained)]


def _status(journal: Journal) -> str:
    return " ".join(status for _, status in _steps(journal))


@pytest.fixture
def received(journal: Journal, facts: Any) -> Journal:
    journal.instances.add(facts(1))
    return journal


def _published(journal: Journal, folder: Path) -> int:
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t")
    journal.results.publish(KEY, "t", ResultRow("r", folder, "d"), ["pacs"])
    return journal.deliveries.of_series(KEY)[0].id


def test_five_steps_in_the_words_of_the_configuration(received: Journal) -> None:
    assert [name for name, _ in _steps(received)] == list(STEPS)


def test_a_series_goes_from_step_to_step(received: Journal, tmp_path: Path, clock: Any) -> None:
    assert _status(received) == "now ahead ahead ahead ahead"
    delivery = _published(received, tmp_path)
    assert _status(received) == "done done done done now"
    clock.pass_s(3)
    received.deliveries.advance(delivery, DeliveryEvent.PEER_ACCEPTED)
    received.deliveries.advance(delivery, DeliveryEvent.PROOF_FOUND)
    assert _status(received) == "done done done done done"
    (explained,) = why_series(received, [received.series.get(KEY)])
    assert way(explained)[-1].seconds == 3.0


def test_where_it_stops_or_ends_is_said(received: Journal, tmp_path: Path, facts: Any) -> None:
    received.series.advance(KEY, SeriesEvent.WENT_QUIET, detail={"reason": "1 of 2"})
    assert _status(received) == "done stopped ahead ahead ahead"
    received.instances.add(facts(2))
    assert _status(received) == "now ahead ahead ahead ahead"
    received.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    received.series.advance(KEY, SeriesEvent.RULES_REJECT, detail={"reason": "TE"})
    assert _status(received) == "done done ended ahead ahead"


def test_a_delivery_that_failed_stops_the_last_step(received: Journal, tmp_path: Path) -> None:
    delivery = _published(received, tmp_path)
    received.deliveries.advance(delivery, DeliveryEvent.PERMANENT_FAILURE)
    assert _status(received) == "done done done done stopped"


def test_not_in_view_ends_the_work(received: Journal) -> None:
    received.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    received.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    received.series.claim("t")
    received.series.advance(KEY, SeriesEvent.NOT_IN_VIEW, expect="t")
    assert _status(received) == "done done done ended ahead"


@pytest.mark.parametrize("state", SeriesState)
def test_every_state_has_its_step(state: SeriesState) -> None:
    explained = {
        "state": state, "history": [], "deliveries": [],
        "timeline": {"stages_s": {}, "receive_s": 0.0},
    }  # fmt: skip
    assert len(way(explained)) == 5
