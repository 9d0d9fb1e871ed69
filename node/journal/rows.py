"""What the journal takes and gives: frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from node.journal.states import DeliveryState, InstanceState, JobState, SeriesState

if TYPE_CHECKING:  # the module encodes, and takes half a second to import
    from dicomseg.encode.rejection_note import RejectionReason

Kind = Literal["result", "withdrawal"]
RESULT: Final[Kind] = "result"
WITHDRAWAL: Final[Kind] = "withdrawal"


class SeriesKey(NamedTuple):
    """A series within its study; both UIDs as received."""

    study: str
    series: str


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """One received object as the spool holds it.

    digest: of the data set's bytes; of a quarantined one with the transfer syntax behind (`spool.name_of`).
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


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One published result folder.

    superseded_by: the result that took its place, "" while none has. superseded_because: see `RejectionReason`, ""
    while the result is the newest of its series; known before `superseded_by` after a correction.
    """

    result_id: str
    folder: Path
    model_digest: str
    attempt: int = 0
    created_at: float = 0.0
    superseded_by: str = ""
    superseded_because: RejectionReason | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One result on its way to one destination; fault, fault_tries and try_at as in `SeriesRow`.

    kind: the result itself, or the withdrawal of one that was delivered. accepted: files that the
    destination has taken. refused: files that it will not take, and why. proof: how a confirmed delivery
    was proved, "found" or "unproven". because: why the result is superseded, "" when it is not.
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


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a series or of its deliveries."""

    id: int
    at: float
    event: str
    state: str
    detail: dict[str, Any]
    delivery_id: int | None = None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a retraining is asked to do; kept in the journal as it was at the time of asking.

    cases: digest of each prepared case by its id, as found in `data`. bundle, recipe: empty is the
    bundle in service when the job starts, and the default recipe. margin: in Dice.
    """

    data: str
    held_out: str
    recipe: str = ""
    bundle: str = ""
    margin: float = 0.01
    max_hours: float = 12.0
    cases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobRow:
    """One retraining in the journal.

    pid, started: the running process and when the machine says it began, so that a process id that
    came again is not taken for it. outcome: what the comparison answered.
    """

    id: int
    state: JobState
    reason: str
    asked_by: str
    plan: JobPlan
    outcome: dict[str, Any]
    pid: int | None
    started: str
    starts: int
    created_at: float
    state_at: float


@dataclass(frozen=True, slots=True)
class JobEventRow:
    """One event of a job, or of the schedule when `job_id` is None."""

    id: int
    at: float
    job_id: int | None
    event: str
    state: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of the bundle in service, never altered; `folder` None is the configured bundle.

    replaced: digest of the bundle in service until then. before_id: the row a rollback returns to, None
    the configured bundle.
    """

    id: int
    at: float
    event: str
    folder: Path | None
    name: str
    version: str
    digest: str
    replaced: str
    before_id: int | None
    job_id: int | None
    asked_by: str
    reason: str
