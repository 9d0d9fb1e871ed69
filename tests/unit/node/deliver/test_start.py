from __future__ import annotations

from pathlib import Path
from typing import Any

from node.deliver.start import close_unconfigured
from node.events import DeliveryConfirmed, DeliveryFailed
from node.journal.journal import Journal
from node.journal.states import DeliveryEvent, DeliveryState
from tests.support.deliveries import only_delivery, publish_result


def test_destination_no_longer_configured_is_given_up_and_that_is_logged(
    journal: Journal, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    heard: list[Any] = []
    assert close_unconfigured(journal, ["other"], heard.append) == 1
    assert 'destination "pacs" is no longer configured' in only_delivery(journal).detail
    assert only_delivery(journal).state is DeliveryState.DEAD
    assert [(type(e), e.destination) for e in heard] == [(DeliveryFailed, "pacs")]


def test_what_it_took_before_is_confirmed_without_proof_and_logged(
    journal: Journal, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    journal.deliveries.advance(only_delivery(journal).id, DeliveryEvent.PEER_ACCEPTED)
    heard: list[Any] = []
    assert close_unconfigured(journal, ["other"], heard.append) == 1
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert [(type(e), e.proof) for e in heard] == [(DeliveryConfirmed, "unproven")]
