"""Who made a result and under which UIDs: the same input gives the same UIDs, other bytes never share one.

UIDs are `2.25.` + a version 5 UUID (PS3.5 B.2), which needs no registered root.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from dicomseg.read.instance import Instance
from dicomseg.segmentation import EngineInfo

NAMESPACE: Final = uuid.UUID("6f6f3c1e-6d5b-5c0e-9a55-2f0e4b8f7a10")
"""Namespace of every UUID made here; never changes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How the node presents itself in objects (General Equipment, PS3.3 C.7.5.1)."""

    manufacturer: str
    model_name: str
    software_version: str
    device_serial_number: str
    station_name: str


def _uuid(*parts: object) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, json.dumps(parts, sort_keys=True, separators=(",", ":")))


def make_uid(*parts: object) -> str:
    """Make the UID that follows from JSON-serialisable parts."""
    return f"2.25.{_uuid(*parts).int}"


@dataclass(frozen=True, slots=True)
class ResultKey:
    """Identity of one result; every UID in it is `uid(role)`."""

    result_id: str

    def uid(self, role: str) -> str:
        """Return the UID of one role, e.g. `seg.series` or `seg.instance`."""
        return make_uid("result", self.result_id, role)


def result_key(
    instances: Sequence[Instance],
    engine: EngineInfo,
    settings_digest: str,
    software_version: str,
    predecessor: ResultKey | None = None,
) -> ResultKey:
    """Make the identity from source objects and their bytes, model, engine, settings, version and predecessor."""
    source = sorted((i.sop_instance_uid, i.digest) for i in instances)
    before = None if predecessor is None else predecessor.result_id
    return ResultKey(
        _uuid("key", source, asdict(engine), settings_digest, software_version, before).hex
    )


def tracking_uid(patient_id: str, issuer: str, name: str) -> str:
    """Make the tracking UID of a structure or measurement of a patient; new models do not change it."""
    return make_uid("tracking", patient_id, issuer, name)


def device_uid(serial_number: str, engine: EngineInfo) -> str:
    """Make the device UID of the algorithm, which changes with the model (IHE AI Results)."""
    return make_uid("device", serial_number, engine.digest)


def comparison_key(
    results: Sequence[str], settings_digest: str, software_version: str, predecessor: str
) -> ResultKey:
    """Make the identity of a comparison from the results that it compares, oldest first, settings, version and predecessor."""
    parts = ("comparison", list(results), settings_digest, software_version, predecessor)
    return ResultKey(_uuid(*parts).hex)
