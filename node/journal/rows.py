"""Frozen rows of objects, series, results, deliveries and their events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from node.journal.columns import read_json, read_state
from node.journal.states import DeliveryState, InstanceState, SeriesState

if TYPE_CHECKING:
    import sqlite3

    # The module encodes, and takes half a second to import.
    from dicomseg.encode.rejection_note import RejectionReason

Kind = Literal["result", "withdrawal", "verified"]
RESULT: Final[Kind] = "result"
WITHDRAWAL: Final[Kind] = "withdrawal"
VERIFIED: Final[Kind] = "verified"
"""The report that a physician confirmed, beside the result that it is of."""
UID_SIGNS: Final = frozenset("0123456789.")
LONGEST_NAME: Final = 128
"""Characters of a UID that names a row: longer than a UID may be (64), so that an object that is quarantined for
a long UID still has its own row; no longer, whatever is sent."""
_STAND_IN: Final = re.compile(r"no-uid-[0-9a-f]{32}")
_PROOFS: Final = {"found": "stored"}
"""What earlier versions wrote, by its present name."""


def row_uid(uid: str) -> str:
    """Return what a row holds for a SOP Instance UID: the UID, or a digest of what is none, such as a patient's name."""
    if uid and set(uid) <= UID_SIGNS and len(uid) <= LONGEST_NAME:
        return uid
    if not uid or _STAND_IN.fullmatch(uid):
        return uid
    return f"no-uid-{hashlib.sha256(uid.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


class SeriesKey(NamedTuple):
    """A series within its study; both UIDs as received."""

    study: str
    series: str


@dataclass(frozen=True, slots=True)
class NewInstance:
    """One received object as the spool holds it.

    digest: of the data set's bytes; of a quarantined one with the transfer syntax behind (`spool.file_stem`).
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    digest: str
    transfer_syntax_uid: str
    path: Path
    bytes: int
    calling_ae: str = ""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One object in the journal.

    series: as it says itself; of an object without a valid study or series UID that part is "".
    superseded_by: digest of the object that took its place, "" while none has.
    """

    sop_instance_uid: str
    digest: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    bytes: int
    calling_ae: str
    state: InstanceState
    reason: str
    received_at: float
    series: SeriesKey
    superseded_by: str = ""

    @property
    def shown_uid(self) -> str:
        """The SOP Instance UID to be shown: "" where a peer put something else there, perhaps a patient's name."""
        return self.sop_instance_uid if set(self.sop_instance_uid) <= UID_SIGNS else ""

    @classmethod
    def from_row(cls, row: sqlite3.Row, root: Path) -> Self:
        """Read a row with the study and series UIDs of its series; root: folder of relative paths."""
        return cls(
            sop_instance_uid=row["sop_instance"],
            digest=row["digest"],
            sop_class_uid=row["sop_class"],
            transfer_syntax_uid=row["transfer_syntax"],
            path=root / row["path"],
            bytes=row["bytes"],
            calling_ae=row["calling_ae"],
            state=read_state(InstanceState, row["state"]),
            reason=row["reason"],
            received_at=row["received_at"],
            series=SeriesKey(row["study"] or "", row["series"] or ""),
            superseded_by=row["superseded_by"],
        )


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series in the journal; `token` is the claim, `attempts` how often it was claimed.

    instances: number of stored objects. fault: why the step `fault_step` could not be done the last
    `fault_tries` times, "" when nothing is in the way; the next try is at `try_at`.
    """

    id: int
    key: SeriesKey
    state: SeriesState
    reason: str
    token: str | None
    token_at: float | None
    attempts: int
    forced: int
    instances: int
    first_at: float
    last_at: float
    state_at: float
    fault: str = ""
    fault_step: str = ""
    fault_tries: int = 0
    try_at: float = 0.0

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of the table `series`."""
        rest = set(cls.__slots__) - {"key", "state"}
        return cls(
            key=SeriesKey(row["study"], row["series"]),
            state=read_state(SeriesState, row["state"]),
            **{name: row[name] for name in rest},
        )


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One published result folder.

    superseded_by: the result that took its place, "" while none has. superseded_because: see `RejectionReason`, ""
    while the result is the newest of its series; known before `superseded_by` after a correction. purged_at: when its
    folder was removed, in seconds since 1970, None while it is kept. inputs: of a follow-up the results that it
    compares, oldest first; () of a result of a series.
    """

    result_id: str
    folder: Path
    model_digest: str
    attempt: int = 0
    created_at: float = 0.0
    superseded_by: str = ""
    superseded_because: RejectionReason | Literal[""] = ""
    purged_at: float | None = None
    inputs: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: sqlite3.Row, root: Path) -> Self:
        """Read a row of the table `result`; root: folder of relative paths."""
        rest = set(cls.__slots__) - {"folder", "inputs"}
        inputs = tuple(map(str, read_json(row["inputs"], list)))
        return cls(folder=root / row["folder"], inputs=inputs, **{name: row[name] for name in rest})


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One result on its way to one destination; fault, fault_tries and try_at as in `SeriesRow`.

    kind: the result itself, the withdrawal of one that was delivered, or its verified report. accepted: files that the
    destination has taken. refused: files that it will not take, and why. proof: how a confirmed delivery
    was verified, "stored" (it was found), "committed" (the peer took responsibility) or "unproven".
    waited_s: seconds between tries since it was made, first taken or retried. because: why the result is superseded, "" when it is not.
    is_followup: the result compares others, and is none of its series.
    """

    id: int
    result_id: str
    folder: Path
    destination: str
    state: DeliveryState
    tries: int
    next_try_at: float | None
    detail: str
    state_at: float
    series: SeriesKey
    fault: str = ""
    fault_tries: int = 0
    try_at: float = 0.0
    kind: Kind = RESULT
    accepted: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    proof: str = ""
    because: RejectionReason | Literal[""] = ""
    waited_s: float = 0.0
    is_followup: bool = False

    @classmethod
    def from_row(cls, row: sqlite3.Row, root: Path) -> Self:
        """Read a row of `delivery` joined with its result and series; root: folder of relative paths."""
        return cls(
            id=row["id"],
            result_id=row["result_id"],
            folder=root / row["folder"],
            destination=row["destination"],
            state=read_state(DeliveryState, row["state"]),
            tries=row["tries"],
            next_try_at=row["next_try_at"],
            detail=row["detail"],
            state_at=row["state_at"],
            series=SeriesKey(row["study"], row["series"]),
            fault=row["fault"],
            fault_tries=row["fault_tries"],
            try_at=row["try_at"],
            kind=row["kind"],
            accepted=tuple(read_json(row["accepted"], list)),
            refused=read_json(row["refused"], dict),
            proof=_PROOFS.get(row["proof"], row["proof"]),
            because=row["superseded_because"],
            waited_s=row["waited_s"],
            is_followup=bool(row["is_followup"]),
        )


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a series or of its deliveries."""

    id: int
    at: float
    event: str
    state: str
    detail: dict[str, Any]
    delivery_id: int | None = None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of the table `event`."""
        return cls(
            id=row["id"],
            at=row["at"],
            event=row["event"],
            state=row["state"],
            detail=read_json(row["detail"], dict),
            delivery_id=row["delivery_id"],
        )
