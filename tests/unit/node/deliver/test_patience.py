"""How long a delivery is tried: seconds that were waited, whatever the wall clock does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.backoff import days_text
from node.deliver.memory import InMemory
from node.deliver.port import Outcome, StorageCheck
from node.journal.journal import Journal
from node.journal.states import DeliveryState
from node.observe.attention import attention
from tests.support.deliveries import deliver_step, only_delivery, publish_result
from tests.support.mr_series import KEY

NO_RESOURCES = Outcome("", "transient", "", "0xA700")
DAY_S = 86_400.0
WEEK = {"patience_days": 7.0, "first_wait_seconds": 7200.0, "max_wait_seconds": 14_400.0}
"""A week, with waits as long as make the tests quick."""


def _run_days(step: Any, clock: Any, days: float, tick_s: float = 7200.0) -> None:
    for _ in range(int(days * DAY_S / tick_s)):
        step.run_once()
        clock.pass_s(tick_s)


def test_a_week_of_no_resources_is_tried_on_and_a_day_more_is_not(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[NO_RESOURCES] * 5000)
    step = deliver_step(journal, clock, peer, **WEEK)
    _run_days(step, clock, 6.9)
    assert only_delivery(journal).state is DeliveryState.WAITING
    assert 40 < peer.sends < 50
    _run_days(step, clock, 0.5)
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert "given up after 7." in row.detail


@pytest.mark.parametrize(
    ("asked_s", "waits_s"), [(0.0, 5.0), (2.0, 5.0), (20.0, 20.0), (60.0, 60.0), (1e6, 60.0)]
)
def test_a_server_that_asks_for_a_wait_gets_it_up_to_the_longest(
    journal: Journal, clock: Any, tmp_path: Path, asked_s: float, waits_s: float
) -> None:
    publish_result(journal, tmp_path)
    busy = Outcome("", "transient", "", "HTTP 503", asked_s)
    step = deliver_step(journal, clock, InMemory("pacs", script=[busy]))
    step.run_once()
    assert only_delivery(journal).next_try_at == pytest.approx(clock.wall() + waits_s)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(0.0, 5.0), (20.0, 20.0), (1e6, 60.0)])
def test_a_server_that_asks_for_a_wait_before_it_proves_gets_it(
    journal: Journal, clock: Any, tmp_path: Path, asked_s: float, waits_s: float
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", checks=[StorageCheck("unknown", "HTTP 503", wait_s=asked_s)])
    deliver_step(journal, clock, peer).run_once()
    row = only_delivery(journal)
    assert row.state is DeliveryState.SENT
    assert row.try_at == pytest.approx(clock.wall() + waits_s)


def test_a_pacs_that_is_back_after_a_long_night_gets_its_result(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[NO_RESOURCES] * 18)
    step = deliver_step(journal, clock, peer, **WEEK)
    _run_days(step, clock, 3.5)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


@pytest.mark.parametrize("jump_s", [400 * DAY_S, -400 * DAY_S, 3600.0, -3600.0])
def test_a_clock_that_is_set_neither_ends_the_patience_nor_stops_the_tries(
    journal: Journal, clock: Any, tmp_path: Path, jump_s: float
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[NO_RESOURCES] * 5000)
    step = deliver_step(journal, clock, peer, **WEEK)
    _run_days(step, clock, 1)
    clock.jump_s(jump_s)
    before = peer.sends
    _run_days(step, clock, 1)
    row = only_delivery(journal)
    assert row.state is DeliveryState.WAITING
    assert 5 <= peer.sends - before <= 8
    assert 1.6 * DAY_S < row.waited_s < 2.1 * DAY_S
    clock.jump_s(-jump_s)
    _run_days(step, clock, 1)
    row = only_delivery(journal)
    assert row.state is DeliveryState.WAITING
    assert 2.4 * DAY_S < row.waited_s < 3.1 * DAY_S


def test_a_clock_that_jumps_twice_a_day_still_comes_to_an_end(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs", script=[NO_RESOURCES] * 5000), **WEEK)
    for number in range(60):
        clock.jump_s(DAY_S * (-1) ** number)
        _run_days(step, clock, 0.5)
    assert only_delivery(journal).state is DeliveryState.DEAD


def test_a_node_that_was_off_for_a_month_does_not_give_up_at_its_start(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[NO_RESOURCES] * 20)
    _run_days(deliver_step(journal, clock, peer, **WEEK), clock, 0.5)
    clock.pass_s(30 * DAY_S)
    step = deliver_step(journal, clock, peer, **WEEK)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.WAITING
    _run_days(step, clock, 4)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


def test_proof_has_its_own_week_after_a_week_of_sending(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    unknown = StorageCheck("unknown", "C-FIND answers 0xA700")
    peer = InMemory("pacs", script=[NO_RESOURCES] * 38, checks=[unknown] * 24)
    step = deliver_step(journal, clock, peer, **WEEK)
    _run_days(step, clock, 9)
    assert only_delivery(journal).state is DeliveryState.SENT
    _run_days(step, clock, 4)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


def test_a_pacs_that_takes_and_loses_again_and_again_is_given_up(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    lost = StorageCheck("missing", "not found", ("seg.dcm",))
    peer = InMemory("pacs", checks=[lost] * 5000)
    step = deliver_step(journal, clock, peer, **WEEK)
    _run_days(step, clock, 7.6)
    assert only_delivery(journal).state is DeliveryState.DEAD
    assert "not found" in only_delivery(journal).detail


def test_retry_begins_with_all_patience(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[NO_RESOURCES] * 100)
    step = deliver_step(journal, clock, peer)
    _run_days(step, clock, 0.01, 60)
    assert only_delivery(journal).state is DeliveryState.DEAD
    journal.request_retry(KEY.series)
    row = only_delivery(journal)
    assert (row.state, row.waited_s, row.tries) == (DeliveryState.PENDING, 0.0, 0)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.WAITING


def test_what_waits_for_an_hour_asks_for_a_look(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs", script=[NO_RESOURCES] * 5000), **WEEK)
    _run_days(step, clock, 0.02, 300)
    (matter,) = attention(journal)
    assert "tried for" not in matter.line
    _run_days(step, clock, 0.4)
    (matter,) = attention(journal)
    assert "h; `lumbar-node echo pacs` asks it" in matter.line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (90, "2 min"), (7200, "2.0 h"), (11_160, "3.1 h"), (7 * DAY_S, "7.0 days")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert days_text(seconds) == text
