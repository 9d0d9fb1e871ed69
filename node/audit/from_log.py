"""Entries of the audit trail from events of the log: who came, who was not let in, what was refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from node.audit.entry import AuditEvent, Entry, Outcome, Participant
from node.events import (
    AssociationEnded,
    AssociationRefused,
    CertificatesRefused,
    CertificatesRenewed,
    ObjectRefused,
)

MOST_WAITING: Final = 10_000
"""Different matters that wait to be written while the disk takes nothing; what comes then is counted."""

_A = AuditEvent


@dataclass(frozen=True, slots=True)
class _Matter:
    """What entries have in common that are written as one."""

    event: AuditEvent
    who: tuple[Participant, ...]
    outcome: Outcome
    reason: str


@dataclass(slots=True)
class _Sum:
    first_at: float
    counts: dict[str, int] = field(default_factory=dict)


def _ended(fields: Mapping[str, Any]) -> _Matter:
    who = (Participant("source", ae_title=fields["calling_ae"], address=fields["peer"]),)
    outcome: Outcome = "success" if fields["outcome"] == "released" else "minor_failure"
    return _Matter(_A.ASSOCIATION_ENDED, who, outcome, fields["reason"])


def _refused(fields: Mapping[str, Any]) -> _Matter:
    who = (Participant("source", address=fields["peer"]),)
    return _Matter(_A.ASSOCIATION_REFUSED, who, "minor_failure", fields["reason"])


def _object(fields: Mapping[str, Any]) -> _Matter:
    who = (Participant("source", address=fields["peer"]),)
    reason = f"{fields['status']}: {fields['reason']}"
    return _Matter(_A.OBJECT_REFUSED, who, "minor_failure", reason)


def _renewed(fields: Mapping[str, Any]) -> _Matter:
    reason = f"read again for: {', '.join(fields['roles'])}"
    return _Matter(_A.CERTIFICATE_CHANGED, (), "success", reason)


def _not_renewed(fields: Mapping[str, Any]) -> _Matter:
    return _Matter(_A.CERTIFICATE_CHANGED, (), "minor_failure", fields["reason"])


_MATTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], _Matter]]] = MappingProxyType(
    {
        AssociationEnded.__name__: _ended,
        AssociationRefused.__name__: _refused,
        ObjectRefused.__name__: _object,
        CertificatesRenewed.__name__: _renewed,
        CertificatesRefused.__name__: _not_renewed,
    }
)
_COUNTS: Final = ("stored", "same")
"""Fields that are added up over events of one matter."""


@dataclass(slots=True)
class Listener:
    """Collects events of the log, from any thread, until they are written. now: seconds since 1970."""

    now: Callable[[], float]
    _waiting: dict[_Matter, _Sum] = field(default_factory=dict)
    _lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, name: str, fields: Mapping[str, Any]) -> None:
        """Keep an event that is audited; the same matter again is counted."""
        make = _MATTERS.get(name)
        if make is None:
            return
        matter = make(fields)
        counts = {key: int(fields[key]) for key in _COUNTS if key in fields}
        with self._lock:
            known = self._waiting.get(matter)
            if known is None:
                if len(self._waiting) >= MOST_WAITING:
                    self._lost += 1
                    return
                known = self._waiting[matter] = _Sum(self.now())
            for key, number in {"times": 1, **counts}.items():
                known.counts[key] = known.counts.get(key, 0) + number

    def waiting(self) -> tuple[Entry, ...]:
        """Take what was collected, in the order in which it began."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
            lost, self._lost = self._lost, 0
        entries = [
            Entry(s.first_at, m.event, m.who, _what(m, s), m.outcome) for m, s in taken.items()
        ]
        if lost:
            what = {"times": lost, "reason": "the disk took no entries"}
            entries.append(Entry(self.now(), _A.ENTRIES_LOST, what=what, outcome="serious_failure"))
        return tuple(entries)


def _what(matter: _Matter, total: _Sum) -> dict[str, Any]:
    counts = {key: number for key, number in total.counts.items() if number}
    return {**counts, "reason": matter.reason} if matter.reason else counts
