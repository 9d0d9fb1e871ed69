"""The state tables: one truth for the journal, ARCHITECTURE.md and the metrics.

Every (state, event) pair that is not here is refused by the journal's tables.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class InstanceState(StrEnum):
    """One received object. purging: its file is being removed; purged: it was, and the row stays."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    PURGING = "purging"
    PURGED = "purged"


class SeriesState(StrEnum):
    """One series on its way.

    quarantined: of all that came, nothing can be used. superseded: a correction took every object of it
    into another series. purged: its files were removed, after it was delivered or by request.
    """

    RECEIVING = "receiving"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    SELECTED = "selected"
    SKIPPED = "skipped"
    PROCESSING = "processing"
    ENCODED = "encoded"
    DELIVERED = "delivered"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    PURGED = "purged"


class DeliveryState(StrEnum):
    """One result on its way to one destination."""

    PENDING = "pending"
    SENT = "sent"
    WAITING = "waiting"
    CONFIRMED = "confirmed"
    DEAD = "dead"


class JobState(StrEnum):
    """One retraining."""

    QUEUED = "queued"
    RUNNING = "running"
    PROPOSED = "proposed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PROMOTED = "promoted"


class SeriesEvent(StrEnum):
    """What can happen to a series."""

    INSTANCE_STORED = "instance_stored"
    INSTANCE_CORRECTED = "instance_corrected"
    INSTANCE_SUPERSEDED = "instance_superseded"
    INSTANCE_SET_ASIDE = "instance_set_aside"
    ALL_SUPERSEDED = "all_superseded"
    ALL_QUARANTINED = "all_quarantined"
    GEOMETRY_COMPLETE = "geometry_complete"
    SETTLED_INELIGIBLE = "settled_ineligible"
    WENT_QUIET = "went_quiet"
    RULES_ACCEPT = "rules_accept"
    RULES_REJECT = "rules_reject"
    CLAIMED = "claimed"
    RESULTS_PUBLISHED = "results_published"
    NOT_IN_VIEW = "not_in_view"
    REFUSED = "refused"
    CLAIM_LOST = "claim_lost"
    CLAIM_RETURNED = "claim_returned"
    CRASHED_OUT = "crashed_out"
    ALL_CONFIRMED = "all_confirmed"
    REDELIVERY_REQUESTED = "redelivery_requested"
    RETRY_REQUESTED = "retry_requested"
    PURGED = "purged"


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    PEER_ACCEPTED = "peer_accepted"
    TRANSIENT_FAILURE = "transient_failure"
    PERMANENT_FAILURE = "permanent_failure"
    DUE = "due"
    PATIENCE_EXHAUSTED = "patience_exhausted"
    PROOF_FOUND = "proof_found"
    PROOF_MISSING = "proof_missing"
    NO_PROOF_OFFERED = "no_proof_offered"
    RETRY_REQUESTED = "retry_requested"
    SUPERSEDED = "superseded"


class JobEvent(StrEnum):
    """What can happen to a retraining job."""

    STARTED = "started"
    NODE_STOPPED = "node_stopped"
    COMPARISON_PASSED = "comparison_passed"
    COMPARISON_FAILED = "comparison_failed"
    FAULT = "fault"
    CANCEL_REQUESTED = "cancel_requested"
    ENQUEUED_AGAIN = "enqueued_again"
    PROMOTE_REQUESTED = "promote_requested"


_S, _E = SeriesState, SeriesEvent
_WITH_OBJECTS: Final = tuple(s for s in _S if s not in {_S.QUARANTINED, _S.SUPERSEDED, _S.PURGED})
_RETRIES: Final = (_S.INCOMPLETE, _S.SKIPPED, _S.FAILED, _S.ENCODED, _S.DELIVERED)
PURGEABLE: Final = (*_RETRIES, _S.QUARANTINED, _S.SUPERSEDED)
"""States in which no step has anything to do with a series' objects. An encoded one may still be sent."""

SERIES_TRANSITIONS: Final = MappingProxyType(
    {
        **{
            (state, event): _S.RECEIVING
            for state in _S
            for event in (_E.INSTANCE_STORED, _E.INSTANCE_CORRECTED)
        },
        # What is left of a series after it lost an object is judged again.
        **{
            (state, event): _S.RECEIVING
            for state in _WITH_OBJECTS
            for event in (_E.INSTANCE_SUPERSEDED, _E.INSTANCE_SET_ASIDE)
        },
        **{(state, _E.ALL_SUPERSEDED): _S.SUPERSEDED for state in _WITH_OBJECTS},
        **{(state, _E.ALL_QUARANTINED): _S.QUARANTINED for state in _WITH_OBJECTS},
        (_S.RECEIVING, _E.GEOMETRY_COMPLETE): _S.COMPLETE,
        # No rule can accept it whatever still comes: a localizer with three planes is skipped, not "incomplete".
        (_S.RECEIVING, _E.SETTLED_INELIGIBLE): _S.COMPLETE,
        (_S.RECEIVING, _E.WENT_QUIET): _S.INCOMPLETE,
        (_S.COMPLETE, _E.RULES_ACCEPT): _S.SELECTED,
        (_S.COMPLETE, _E.RULES_REJECT): _S.SKIPPED,
        (_S.SELECTED, _E.CLAIMED): _S.PROCESSING,
        (_S.PROCESSING, _E.RESULTS_PUBLISHED): _S.ENCODED,
        (_S.PROCESSING, _E.NOT_IN_VIEW): _S.SKIPPED,
        (_S.PROCESSING, _E.REFUSED): _S.FAILED,
        (_S.PROCESSING, _E.CLAIM_LOST): _S.SELECTED,
        # The node or its machine was the reason, not the series: the attempt does not count.
        (_S.PROCESSING, _E.CLAIM_RETURNED): _S.SELECTED,
        (_S.PROCESSING, _E.CRASHED_OUT): _S.FAILED,
        (_S.ENCODED, _E.ALL_CONFIRMED): _S.DELIVERED,
        # A destination has lost its newest result, says a person.
        (_S.DELIVERED, _E.REDELIVERY_REQUESTED): _S.ENCODED,
        **{(state, _E.RETRY_REQUESTED): _S.COMPLETE for state in _RETRIES},
        **{(state, _E.PURGED): _S.PURGED for state in PURGEABLE},
    }
)

_D, _V = DeliveryState, DeliveryEvent
DELIVERY_TRANSITIONS: Final = MappingProxyType(
    {
        (_D.PENDING, _V.PEER_ACCEPTED): _D.SENT,
        (_D.PENDING, _V.TRANSIENT_FAILURE): _D.WAITING,
        (_D.PENDING, _V.PERMANENT_FAILURE): _D.DEAD,
        (_D.PENDING, _V.SUPERSEDED): _D.DEAD,
        (_D.WAITING, _V.DUE): _D.PENDING,
        (_D.WAITING, _V.PATIENCE_EXHAUSTED): _D.DEAD,
        (_D.WAITING, _V.SUPERSEDED): _D.DEAD,
        (_D.SENT, _V.PROOF_FOUND): _D.CONFIRMED,
        (_D.SENT, _V.PROOF_MISSING): _D.WAITING,
        (_D.SENT, _V.NO_PROOF_OFFERED): _D.CONFIRMED,
        # It was taken, and is reported as not kept for a reason that stays.
        (_D.SENT, _V.PERMANENT_FAILURE): _D.DEAD,
        (_D.SENT, _V.PATIENCE_EXHAUSTED): _D.DEAD,
        (_D.SENT, _V.SUPERSEDED): _D.DEAD,
        (_D.DEAD, _V.RETRY_REQUESTED): _D.PENDING,
        # The destination has lost it, says a person.
        (_D.CONFIRMED, _V.RETRY_REQUESTED): _D.PENDING,
    }
)

_J, _A = JobState, JobEvent
JOB_TRANSITIONS: Final = MappingProxyType(
    {
        (_J.QUEUED, _A.STARTED): _J.RUNNING,
        (_J.QUEUED, _A.CANCEL_REQUESTED): _J.CANCELLED,
        # A job that cannot even be started, e.g. on a full disk.
        (_J.QUEUED, _A.FAULT): _J.FAILED,
        # An ordered stop is not a fault of the training: the next start resumes from its checkpoint.
        (_J.RUNNING, _A.NODE_STOPPED): _J.QUEUED,
        (_J.RUNNING, _A.COMPARISON_PASSED): _J.PROPOSED,
        (_J.RUNNING, _A.COMPARISON_FAILED): _J.REJECTED,
        (_J.RUNNING, _A.FAULT): _J.FAILED,
        (_J.RUNNING, _A.CANCEL_REQUESTED): _J.CANCELLED,
        (_J.FAILED, _A.ENQUEUED_AGAIN): _J.QUEUED,
        (_J.CANCELLED, _A.ENQUEUED_AGAIN): _J.QUEUED,
        (_J.PROPOSED, _A.PROMOTE_REQUESTED): _J.PROMOTED,
    }
)
