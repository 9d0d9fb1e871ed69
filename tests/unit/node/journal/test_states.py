"""The state tables against two lists written manually: what may happen, and what must not."""

from __future__ import annotations

from itertools import product

import pytest

from node.journal.states import (
    DELIVERY_TRANSITIONS,
    SERIES_TRANSITIONS,
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
)

SERIES_ALLOWED = """
receiving   instance_stored     receiving
complete    instance_stored     receiving
incomplete  instance_stored     receiving
selected    instance_stored     receiving
skipped     instance_stored     receiving
processing  instance_stored     receiving
encoded     instance_stored     receiving
delivered   instance_stored     receiving
failed      instance_stored     receiving
receiving   geometry_complete   complete
receiving   settled_ineligible  complete
receiving   went_quiet          incomplete
complete    rules_accept        selected
complete    rules_reject        skipped
selected    claimed             processing
processing  results_published   encoded
processing  not_in_view         skipped
processing  refused             failed
processing  claim_lost          selected
processing  claim_returned      selected
processing  crashed_out         failed
encoded     all_confirmed       delivered
delivered   redelivery_requested encoded
incomplete  retry_requested     complete
skipped     retry_requested     complete
failed      retry_requested     complete
encoded     retry_requested     complete
delivered   retry_requested     complete
quarantined instance_stored     receiving
superseded  instance_stored     receiving
receiving   instance_corrected  receiving
complete    instance_corrected  receiving
incomplete  instance_corrected  receiving
selected    instance_corrected  receiving
skipped     instance_corrected  receiving
processing  instance_corrected  receiving
encoded     instance_corrected  receiving
delivered   instance_corrected  receiving
failed      instance_corrected  receiving
quarantined instance_corrected  receiving
superseded  instance_corrected  receiving
receiving   instance_superseded receiving
receiving   instance_set_aside  receiving
receiving   all_superseded      superseded
receiving   all_quarantined     quarantined
complete    instance_superseded receiving
complete    instance_set_aside  receiving
complete    all_superseded      superseded
complete    all_quarantined     quarantined
incomplete  instance_superseded receiving
incomplete  instance_set_aside  receiving
incomplete  all_superseded      superseded
incomplete  all_quarantined     quarantined
selected    instance_superseded receiving
selected    instance_set_aside  receiving
selected    all_superseded      superseded
selected    all_quarantined     quarantined
skipped     instance_superseded receiving
skipped     instance_set_aside  receiving
skipped     all_superseded      superseded
skipped     all_quarantined     quarantined
processing  instance_superseded receiving
processing  instance_set_aside  receiving
processing  all_superseded      superseded
processing  all_quarantined     quarantined
encoded     instance_superseded receiving
encoded     instance_set_aside  receiving
encoded     all_superseded      superseded
encoded     all_quarantined     quarantined
delivered   instance_superseded receiving
delivered   instance_set_aside  receiving
delivered   all_superseded      superseded
delivered   all_quarantined     quarantined
failed      instance_superseded receiving
failed      instance_set_aside  receiving
failed      all_superseded      superseded
failed      all_quarantined     quarantined
incomplete  purged              purged
skipped     purged              purged
encoded     purged              purged
delivered   purged              purged
failed      purged              purged
quarantined purged              purged
superseded  purged              purged
purged      instance_stored     receiving
purged      instance_corrected  receiving
"""
SERIES_FORBIDDEN = {
    "receiving": "rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested purged redelivery_requested",
    "complete": "geometry_complete settled_ineligible went_quiet claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested purged redelivery_requested",
    "incomplete": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed redelivery_requested",
    "selected": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested purged redelivery_requested",
    "skipped": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed redelivery_requested",
    "processing": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed all_confirmed retry_requested purged redelivery_requested",
    "encoded": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out redelivery_requested",
    "delivered": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed",
    "failed": "geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed redelivery_requested",
    "quarantined": "instance_superseded instance_set_aside all_superseded all_quarantined geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested redelivery_requested",
    "superseded": "instance_superseded instance_set_aside all_superseded all_quarantined geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested redelivery_requested",
    "purged": "instance_superseded instance_set_aside all_superseded all_quarantined geometry_complete settled_ineligible went_quiet rules_accept rules_reject claimed results_published not_in_view refused claim_lost claim_returned crashed_out all_confirmed retry_requested purged redelivery_requested",
}
DELIVERY_ALLOWED = """
pending  peer_accepted      sent
pending  transient_failure  waiting
pending  permanent_failure  dead
pending  superseded         dead
waiting  due                pending
waiting  patience_exhausted dead
waiting  superseded         dead
sent     proof_found        confirmed
sent     proof_missing      waiting
sent     no_proof_offered   confirmed
sent     permanent_failure  dead
sent     patience_exhausted dead
sent     superseded         dead
dead     retry_requested    pending
confirmed retry_requested   pending
"""
DELIVERY_FORBIDDEN = {
    "pending": "due patience_exhausted proof_found proof_missing no_proof_offered retry_requested",
    "waiting": "peer_accepted transient_failure permanent_failure proof_found proof_missing no_proof_offered retry_requested",
    "sent": "peer_accepted transient_failure due retry_requested",
    "confirmed": "peer_accepted transient_failure permanent_failure due patience_exhausted proof_found proof_missing no_proof_offered superseded",
    "dead": "peer_accepted transient_failure permanent_failure due patience_exhausted proof_found proof_missing no_proof_offered superseded",
}


def _allowed(table: str) -> dict[tuple[str, str], str]:
    rows = [line.split() for line in table.strip().splitlines()]
    return {(state, event): target for state, event, target in rows}


def _forbidden(table: dict[str, str]) -> set[tuple[str, str]]:
    return {(state, event) for state, events in table.items() for event in events.split()}


SERIES = (SERIES_TRANSITIONS, SERIES_ALLOWED, SERIES_FORBIDDEN, SeriesState, SeriesEvent)
DELIVERY = (
    DELIVERY_TRANSITIONS,
    DELIVERY_ALLOWED,
    DELIVERY_FORBIDDEN,
    DeliveryState,
    DeliveryEvent,
)


@pytest.mark.parametrize(
    ("transitions", "allowed", "forbidden", "states", "events"), [SERIES, DELIVERY]
)
def test_every_pair_is_allowed_or_forbidden_as_written_by_hand(
    transitions: dict[tuple[str, str], str],
    allowed: str,
    forbidden: dict[str, str],
    states: type[SeriesState],
    events: type[SeriesEvent],
) -> None:
    assert dict(transitions) == _allowed(allowed)
    assert not transitions.keys() & _forbidden(forbidden)
    assert transitions.keys() | _forbidden(forbidden) == set(product(states, events))


def test_a_confirmed_delivery_ends_unless_a_person_asks() -> None:
    events = [e for state, e in DELIVERY_TRANSITIONS if state is DeliveryState.CONFIRMED]
    assert events == [DeliveryEvent.RETRY_REQUESTED]


def test_late_slice_reopens_a_series_in_any_state() -> None:
    reopened = {s for s in SeriesState if (s, SeriesEvent.INSTANCE_STORED) in SERIES_TRANSITIONS}
    assert reopened == set(SeriesState)
