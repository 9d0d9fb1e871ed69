"""Entries of the audit trail from events of the journal: which are audited, and what is kept of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

from node.audit.entry import AuditEvent, Entry, Outcome, Participant, Source
from node.journal.changes import Change, ChangeTable
from node.journal.corrections import CORRECTION_ACCEPTED, CORRECTION_REFUSED, CORRECTION_REMOVED
from node.journal.job_rows import Promotion
from node.journal.pulls import PULL_REQUESTED
from node.journal.purges import QUARANTINE_PURGED
from node.journal.requests import WAIT_ENDED, WITHDRAWAL_REQUESTED
from node.journal.reviews import REVIEW_CONFIRMED, REVIEW_REJECTED
from node.journal.rows import WITHDRAWAL
from node.journal.states import DeliveryEvent, SeriesEvent

EVENT: Final = "event"
PROMOTION: Final = "promotion"

_A, _S, _D = AuditEvent, SeriesEvent, DeliveryEvent
_UID: Final = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class Places:
    """Who takes part: the node itself, and the configured destinations by name."""

    own: Participant
    destinations: Mapping[str, Participant]

    def destination(self, name: str) -> Participant:
        """Return a destination, by its name alone where it is no longer configured."""
        return self.destinations.get(name, Participant("destination", name=name))


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes entries of changes. changes: the journal's, asked for the senders of a series."""

    changes: ChangeTable
    places: Places

    def entries(self, found: Sequence[Change]) -> list[Entry]:
        """Return the entries of changes in their order; neighbours about one series and matter are one entry."""
        entries: list[Entry] = []
        for (event, _), group in groupby(found, key=lambda c: (c.event, _group(c))):
            make = _MAKERS.get(event)
            if make is not None:
                entries += _numbered(make(self, list(group)))
        return entries


def _group(change: Change) -> tuple[int, int]:
    """Return what neighbours must have in common to be one entry; of most events nothing is joined."""
    return (change.series_id, 0) if change.event in _JOINED else (change.series_id, change.id)


def _numbered(entries: Sequence[Entry]) -> list[Entry]:
    """Say of each which of the entries of its row it is."""
    parts = len(entries)
    return [
        Entry(e.at, e.event, e.who, e.what, e.outcome, Source(EVENT, e.source.row, part, parts))
        for part, e in enumerate(entries)
        if e.source is not None
    ]


# ---- one maker per matter ------------------------------------------------------------------------


def _of(
    last: Change,
    event: AuditEvent,
    who: Sequence[Participant],
    outcome: Outcome = "success",
    **what: Any,
) -> Entry:
    known = {"study": _uid(last.study), "series": _uid(last.series), **what}
    content = {key: value for key, value in known.items() if value not in ("", None)}
    return Entry(last.at, event, tuple(who), content, outcome, Source(EVENT, last.id))


def _received(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    """One entry per sender of a series that is complete, or to which nothing came any more."""
    last = group[-1]
    return [
        _of(
            last,
            _A.SERIES_RECEIVED,
            [Participant("source", ae_title=sender), _as(reader.places.own, "destination")],
            objects=sum(classes.values()),
            sop_classes=dict(classes),
            complete=last.event != _S.WENT_QUIET,
        )
        for sender, classes in reader.changes.senders(last.series_id).items()
    ]


def _quarantined(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    last = group[-1]
    instance, digest = (str(last.detail.get(key, "")) for key in ("sop_instance", "digest"))
    sender = reader.changes.sender(instance, digest)
    return [
        _of(
            last,
            _A.OBJECT_QUARANTINED,
            [Participant("source", ae_title=sender), _as(reader.places.own, "destination")],
            "minor_failure",
            objects=len(group),
            last_instance=_uid(instance),
            reason=last.detail.get("reason"),
        )
    ]


def _corrected(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    last = group[-1]
    instance, digest = (str(last.detail.get(key, "")) for key in ("sop_instance", "now"))
    sender = reader.changes.sender(instance, digest)
    return [
        _of(
            last,
            _A.IDENTITY_CORRECTED,
            [Participant("source", ae_title=sender)] if sender else [],
            objects=len(group),
            last_instance=_uid(instance),
            reason=last.detail.get("reason"),
        )
    ]


def _created(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    last = group[-1]
    result = last.detail.get("result")
    return [_of(last, _A.RESULT_CREATED, [reader.places.own], result=result)]


def _delivery(
    event: AuditEvent, outcome: Outcome = "success", withdrawal: AuditEvent | None = None
) -> Callable[[Reader, Sequence[Change]], list[Entry]]:
    def make(reader: Reader, group: Sequence[Change]) -> list[Entry]:
        last = group[-1]
        is_withdrawal = last.kind == WITHDRAWAL
        who = [
            _as(reader.places.own, "source"),
            reader.places.destination(last.destination),
        ]
        return [
            _of(
                last,
                withdrawal if is_withdrawal and withdrawal is not None else event,
                who,
                outcome,
                result=last.result_id,
                kind=last.kind,
                objects=last.detail.get("objects"),
                reason=last.detail.get("reason"),
            )
        ]

    return make


def _requested(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    last = group[-1]
    who = [Participant("user", user=str(last.detail.get("by") or "unknown"))]
    if last.destination:
        who.append(reader.places.destination(last.destination))
    return [
        _of(
            last,
            _A.RETRY_REQUESTED,
            who,
            result=last.result_id,
            force=bool(last.detail.get("force")) or None,
        )
    ]


def _decided(event: AuditEvent) -> Callable[[Reader, Sequence[Change]], list[Entry]]:
    def make(_: Reader, group: Sequence[Change]) -> list[Entry]:
        last = group[-1]
        who = [Participant("user", user=str(last.detail.get("by") or "unknown"))]
        detail = last.detail
        return [_of(last, event, who, result=detail.get("result"), reason=detail.get("reason"))]

    return make


def _removed(event: AuditEvent, *named: str) -> Callable[[Reader, Sequence[Change]], list[Entry]]:
    def make(reader: Reader, group: Sequence[Change]) -> list[Entry]:
        detail = group[-1].detail
        by = str(detail.get("by") or "")
        who = [Participant("user", user=by) if by else reader.places.own]
        return [_of(group[-1], event, who, "success", **{key: detail.get(key) for key in named})]

    return make


_purged = _removed(_A.FILES_PURGED, "objects", "bytes", "before", "reason")


def _pull_requested(reader: Reader, group: Sequence[Change]) -> list[Entry]:
    last = group[-1]
    who = [
        Participant("user", user=str(last.detail.get("by") or "unknown")),
        Participant("source", name=str(last.detail.get("source", ""))),
        _as(reader.places.own, "destination"),
    ]
    return [_of(last, _A.PULL_REQUESTED, who, study=_uid(last.detail.get("study")))]


def _judged(
    event: AuditEvent, outcome: Outcome = "success"
) -> Callable[[Reader, Sequence[Change]], list[Entry]]:
    def make(reader: Reader, group: Sequence[Change]) -> list[Entry]:
        last = group[-1]
        instance, digest = (str(last.detail.get(key, "")) for key in ("sop_instance", "digest"))
        sender = reader.changes.sender(instance, digest)
        who = [Participant("source", ae_title=sender), _as(reader.places.own, "destination")]
        found = {key: last.detail.get(key) for key in ("result", "reason")}
        return [_of(last, event, who, outcome, last_instance=_uid(instance), **found)]

    return make


_Maker = Callable[[Reader, Sequence[Change]], list[Entry]]
_MAKERS: Final[Mapping[str, _Maker]] = MappingProxyType(
    {
        _S.GEOMETRY_COMPLETE: _received,
        _S.SETTLED_INELIGIBLE: _received,
        _S.WENT_QUIET: _received,
        "instance_quarantined": _quarantined,
        _S.INSTANCE_SET_ASIDE: _quarantined,
        _S.ALL_QUARANTINED: _quarantined,
        _S.INSTANCE_CORRECTED: _corrected,
        _S.INSTANCE_SUPERSEDED: _corrected,
        _S.ALL_SUPERSEDED: _corrected,
        _S.RESULTS_PUBLISHED: _created,
        "created": _delivery(_A.DELIVERY_STARTED),
        "withdrawal_created": _delivery(_A.DELIVERY_STARTED),
        _D.PEER_ACCEPTED: _delivery(_A.RESULT_SENT, withdrawal=_A.WITHDRAWAL_SENT),
        _D.PROOF_FOUND: _delivery(_A.STORAGE_VERIFIED),
        _D.PERMANENT_FAILURE: _delivery(_A.DELIVERY_FAILED, "serious_failure"),
        _D.PATIENCE_EXHAUSTED: _delivery(_A.DELIVERY_FAILED, "serious_failure"),
        _S.RETRY_REQUESTED: _requested,
        WAIT_ENDED: _requested,
        WITHDRAWAL_REQUESTED: _decided(_A.WITHDRAWAL_REQUESTED),
        REVIEW_CONFIRMED: _decided(_A.RESULT_CONFIRMED),
        REVIEW_REJECTED: _decided(_A.RESULT_REJECTED),
        _S.PURGED: _purged,
        QUARANTINE_PURGED: _purged,
        PULL_REQUESTED: _pull_requested,
        CORRECTION_ACCEPTED: _judged(_A.CORRECTION_ACCEPTED),
        CORRECTION_REFUSED: _judged(_A.CORRECTION_REFUSED, "minor_failure"),
        CORRECTION_REMOVED: _removed(_A.CORRECTION_REMOVED, "entry", "reason"),
    }
)
"""The events that are audited. `retry_requested` is the name of an event of a series and of a delivery."""

AUDITED: Final = frozenset(_MAKERS)
_JOINED: Final = frozenset(
    {
        "instance_quarantined",
        _S.INSTANCE_SET_ASIDE,
        _S.INSTANCE_CORRECTED,
        _S.INSTANCE_SUPERSEDED,
    }
)
"""Events that come once per object."""


def promotion_entry(row: Promotion) -> Entry:
    """Return the entry of a change of the bundle in service."""
    kept = ("name", "version", "digest", "replaced")
    what = {"change": row.event, **{name: getattr(row, name) for name in kept}}
    who = (Participant("user", user=row.asked_by),)
    return Entry(row.at, _A.MODEL_CHANGED, who, what, source=Source(PROMOTION, row.id))


def _as(participant: Participant, role: Any) -> Participant:
    return Participant(role, participant.ae_title, participant.address)


def _uid(text: object) -> str:
    """Return a UID, and nothing of what is none: anything may be in its place, a patient's name too."""
    return str(text) if _UID.fullmatch(str(text)) else ""
