"""What the journal takes and gives: frozen rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from node.states import DeliveryState, InstanceState, SeriesState


class SeriesKey(NamedTuple):
    """A series within its study; both UIDs as received."""

    study: str
    series: str


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """One received object as the spool holds it; `digest` is of the data set's bytes."""

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
    """One object in the journal."""

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


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series in the journal; `token` is the claim, `attempts` how often it was claimed."""

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


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One published result folder."""

    result_id: str
    folder: Path
    model_digest: str
    attempt: int = 0
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One result on its way to one destination."""

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


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a series or of its deliveries."""

    id: int
    at: float
    event: str
    state: str
    detail: dict[str, Any]
    delivery_id: int | None = None
