"""One entry of the audit trail, and the line that holds it: JSON that ends in the hash of all before it.

A line is `{"n":…,"previous":"H",…,"hash":"H"}`; its hash is SHA-256 over the bytes before `,"hash"`, or with a
key HMAC-SHA-256, and covers the hash of the line before. Only ASCII is written, so that no sign of a peer acts
on a terminal. Patient data has no place here: UIDs, AE titles, addresses, users and counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal

NO_HASH: Final = "0" * 64
"""What the first line of a trail names as the hash of the line before."""

LONGEST_TEXT: Final = 256
"""Characters of one text in an entry; a longer one is cut."""

_LINE: Final = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}')

Outcome = Literal["success", "minor_failure", "serious_failure", "major_failure"]
"""As Event Outcome Indicator 0, 4, 8 and 12 of PS3.15 A.5."""

Role = Literal["source", "destination", "application", "user"]


class AuditEvent(StrEnum):
    """What is audited."""

    SERVICE_STARTED = "service_started"
    SERVICE_STOPPED = "service_stopped"
    CONFIGURATION_CHANGED = "configuration_changed"
    CERTIFICATE_CHANGED = "certificate_changed"
    ASSOCIATION_ENDED = "association_ended"
    ASSOCIATION_REFUSED = "association_refused"
    OBJECT_REFUSED = "object_refused"
    OBJECT_QUARANTINED = "object_quarantined"
    SERIES_RECEIVED = "series_received"
    IDENTITY_CORRECTED = "identity_corrected"
    RESULT_CREATED = "result_created"
    DELIVERY_STARTED = "delivery_started"
    RESULT_SENT = "result_sent"
    STORAGE_VERIFIED = "storage_verified"
    DELIVERY_FAILED = "delivery_failed"
    WITHDRAWAL_SENT = "withdrawal_sent"
    RETRY_REQUESTED = "retry_requested"
    FILES_PURGED = "files_purged"
    WITHDRAWAL_REQUESTED = "withdrawal_requested"
    RESULT_CONFIRMED = "result_confirmed"
    RESULT_REJECTED = "result_rejected"
    PULL_REQUESTED = "pull_requested"
    CORRECTION_ACCEPTED = "correction_accepted"
    CORRECTION_REFUSED = "correction_refused"
    CORRECTION_REMOVED = "correction_removed"
    DESTINATION_TESTED = "destination_tested"
    LOGIN = "login"
    LOGOUT = "logout"
    STUDY_OPENED = "study_opened"
    USERS_CHANGED = "users_changed"
    MODEL_CHANGED = "model_changed"
    STATE_REPAIRED = "state_repaired"
    JOURNAL_REBUILT = "journal_rebuilt"
    JOURNAL_REPLACED = "journal_replaced"
    TRAIL_READ = "trail_read"
    TRAIL_DAMAGED = "trail_damaged"
    ENTRIES_LOST = "entries_lost"


@dataclass(frozen=True, slots=True)
class Participant:
    """Who took part. name: of a configured destination. process: of the operating system."""

    role: Role
    ae_title: str = ""
    address: str = ""
    user: str = ""
    name: str = ""
    process: int = 0

    def content(self) -> dict[str, Any]:
        """Return what is known, for the line."""
        known = {key: getattr(self, key) for key in self.__slots__}
        return {key: _cut(value) for key, value in known.items() if value}


@dataclass(frozen=True, slots=True)
class Source:
    """The row of the journal that an entry was read from, and which of the entries of that row it is, from 0."""

    table: str
    row: int
    part: int = 0
    parts: int = 1

    def content(self) -> list[Any]:
        """Return it for the line."""
        return [self.table, self.row, self.part, self.parts]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened. at: seconds since 1970. what: UIDs, counts, digests, reasons."""

    at: float
    event: AuditEvent
    who: tuple[Participant, ...] = ()
    what: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = "success"
    source: Source | None = None


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    if isinstance(value, Mapping):
        return {_cut(str(k)): _cut(v) for k, v in value.items()}
    return value


def time_text(at: float) -> str:
    """Return a moment as ISO 8601 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


# ---- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was read. body: the bytes that its hash covers; content: what they say."""

    body: bytes
    hash: str
    content: Mapping[str, Any]

    @property
    def raw(self) -> bytes:
        """The bytes of the line with its newline."""
        return self.body + b',"hash":"' + self.hash.encode("ascii") + b'"}\n'

    @property
    def number(self) -> int:
        """Its number, from 1 through all segments."""
        return int(self.content["n"])

    @property
    def previous(self) -> str:
        """The hash of the line before."""
        return str(self.content["previous"])

    @property
    def is_keyed(self) -> bool:
        """Whether its hash was made with a key."""
        return bool(self.content.get("keyed", False))


def write_line(entry: Entry, number: int, previous: str, key: bytes) -> Line:
    """Return the line of an entry. key: empty for a plain hash."""
    content: dict[str, Any] = {
        "n": number,
        "time": time_text(entry.at),
        "event": str(entry.event),
        "outcome": entry.outcome,
        "who": [p.content() for p in entry.who],
        "what": _cut(entry.what),
    }
    if entry.source is not None:
        content["from"] = entry.source.content()
    if key:
        content["keyed"] = True
    content["previous"] = previous
    body = json.dumps(content, separators=(",", ":"), default=str).encode("ascii")[:-1]
    return Line(body, hash_of(body, key), content)


def read_line(raw: bytes) -> Line | None:
    """Return a line, with or without its newline; None where it is not one of a trail."""
    found = _LINE.fullmatch(raw.removesuffix(b"\n"))
    if found is None:
        return None
    try:
        content = json.loads(found[1] + b"}")
        line = Line(found[1], found[2].decode("ascii"), content)
        is_ours = line.number > 0 and len(line.previous) == len(NO_HASH)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return line if is_ours else None


def hash_of(body: bytes, key: bytes) -> str:
    """Return the hash of a line's body."""
    if key:
        return hmac.new(key, body, hashlib.sha256).hexdigest()
    return hashlib.sha256(body).hexdigest()
