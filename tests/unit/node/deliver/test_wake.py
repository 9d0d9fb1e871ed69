"""A destination that responds again wakes what waited for it, by one cheap probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.deliver.memory import InMemory
from node.deliver.port import Outcome, StorageCheck
from node.events import DeliveriesWoken
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryState, SeriesEvent
from tests.support.deliveries import (
    deliver_step,
    facts_of,
    only_delivery,
    publish_result,
    result_folder,
)

AWAY = Outcome("", "transient", "does not respond", "no association")
LONG = {"patience_days": 7.0, "max_wait_seconds": 900.0, "first_wait_seconds": 900.0}


def _run_s(step: Any, clock: Any, seconds: float) -> None:
    for _ in range(int(seconds)):
        step.run_once()
        clock.pass_s(1)


def _publish_many(journal: Journal, root: Path, count: int) -> None:
    for number in range(count):
        key = SeriesKey("1.2.1", f"1.2.5.{number}")
        journal.instances.add(replace(facts_of(root, f"s{number}"), series_uid=key.series))
        for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
            journal.series.advance(key, event)
        journal.series.claim("t")
        result = ResultRow(f"s{number}", result_folder(root, f"s{number}"), "digest")
        journal.results.publish(key, "t", result, ("pacs",))


def _states(journal: Journal) -> set[DeliveryState]:
    return {d.state for d in journal.deliveries.in_states(*DeliveryState)}


def test_the_first_answer_wakes_everything_within_a_minute(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish_many(journal, tmp_path, 10)
    peer = InMemory("pacs", script=[AWAY] * 1000)
    step = deliver_step(journal, clock, peer, **LONG)
    heard: list[Any] = []
    step.changes.log = heard.append
    _run_s(step, clock, 1200)
    assert DeliveryState.CONFIRMED not in _states(journal)
    peer.script.clear()
    peer.responds = True
    _run_s(step, clock, 65)
    assert _states(journal) == {DeliveryState.CONFIRMED}
    assert next(e for e in heard if isinstance(e, DeliveriesWoken)).destination == "pacs"
    assert journal.deliveries.unreachable("pacs") == 0


def test_probes_are_few_and_there_are_none_when_nothing_waits(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    peer = InMemory("pacs", script=[AWAY] * 1000)
    step = deliver_step(journal, clock, peer, **LONG)
    _run_s(step, clock, 120)
    assert peer.probes == 0
    publish_result(journal, tmp_path)
    _run_s(step, clock, 60)
    assert 2 <= peer.probes <= 5
    before = peer.probes
    _run_s(step, clock, 3600)
    assert 50 <= peer.probes - before <= 62


def test_a_peer_that_answers_probes_and_takes_nothing_is_tried_ever_more_seldom(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[AWAY] * 1000, responds=True)
    step = deliver_step(journal, clock, peer, **LONG)
    _run_s(step, clock, 3600)
    assert peer.sends <= 14


def test_a_refusal_is_not_woken_by_probes(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    low = Outcome("", "transient", "no space", "0xA700")
    peer = InMemory("pacs", script=[low], responds=True)
    step = deliver_step(journal, clock, peer, **LONG)
    _run_s(step, clock, 800)
    assert (peer.sends, peer.probes) == (1, 0)
    _run_s(step, clock, 200)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


def test_a_question_that_brought_no_answer_is_woken_too(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    gone = StorageCheck("unknown", "does not respond", status="no association")
    peer = InMemory("pacs", checks=[gone])
    step = deliver_step(journal, clock, peer, **LONG)
    _run_s(step, clock, 100)
    assert only_delivery(journal).state is DeliveryState.SENT
    peer.responds = True
    _run_s(step, clock, 65)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


def test_a_restart_continues_to_probe(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    _run_s(deliver_step(journal, clock, InMemory("pacs", script=[AWAY]), **LONG), clock, 5)
    peer = InMemory("pacs", responds=True)
    _run_s(deliver_step(journal, clock, peer, **LONG), clock, 2)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


@pytest.mark.parametrize("jump_s", [86_400.0 * 400, -86_400.0 * 400])
def test_a_clock_that_is_set_does_not_matter_to_probes(
    journal: Journal, clock: Any, tmp_path: Path, jump_s: float
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[AWAY] * 1000)
    step = deliver_step(journal, clock, peer, **LONG)
    _run_s(step, clock, 300)
    clock.jump_s(jump_s)
    before = peer.probes
    _run_s(step, clock, 600)
    assert 8 <= peer.probes - before <= 12
    peer.script.clear()
    peer.responds = True
    _run_s(step, clock, 65)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
