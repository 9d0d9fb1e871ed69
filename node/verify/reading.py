"""What one reader finds in an object, as numbers that two readers can be compared by."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

VALUE_TOLERANCE: Final = 1e-4
"""Relative difference of one value in two readers, which print it with six digits or more."""
SEGMENTS_LIMIT: Final = 1 << 30
"""Bytes read of one segment that a reader wrote."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Measurement groups, their values, and voxels of segments; None and {} where an object has no such thing."""

    groups: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    """First number of every group that has one, by tracking identifier."""
    voxels: Mapping[str, int] = field(default_factory=dict)
    """Voxels of every segment that has any, by its number."""

    def to_json(self) -> dict[str, Any]:
        """Return the reading as plain JSON values."""
        return asdict(self)


def reading_of(value: Mapping[str, Any]) -> Reading:
    """Return the reading that `to_json` gave. Raises what a dictionary of another form raises."""
    values = {str(k): float(v) for k, v in value["values"].items()}
    voxels = {str(k): int(v) for k, v in value["voxels"].items() if int(v)}
    return Reading(None if value["groups"] is None else int(value["groups"]), values, voxels)


def differences(own: Reading, other: Reading) -> Iterator[str]:
    """Yield where another reader finds something else than ours does."""
    if own.groups != other.groups:
        yield f"reads {other.groups} measurement groups of {own.groups}"
    for what, ours, theirs, tolerance in (
        ("value of", own.values, other.values, VALUE_TOLERANCE),
        ("voxels of segment", own.voxels, other.voxels, 0.0),
    ):
        for name in sorted({*ours, *theirs}):
            one, two = ours.get(name), theirs.get(name)
            same = one is not None and two is not None
            if not (same and math.isclose(float(one or 0), float(two or 0), rel_tol=tolerance)):
                yield f"reads {two} for the {what} {name}, which is {one}"


def report_reading(path: Path) -> Reading:
    """Return what dcmqi's `tid1500reader` wrote of a report. Raises what JSON of another form raises."""
    groups: Sequence[Mapping[str, Any]] = json.loads(path.read_text("utf-8"))["Measurements"]
    values = {
        str(group["TrackingIdentifier"]): float(group["measurementItems"][0]["value"])
        for group in groups
        if group["measurementItems"]
    }
    return Reading(len(groups), values)


def segments_reading(folder: Path) -> Reading:
    """Return the voxels in the files that dcmqi's `segimage2itkimage` wrote.

    One file of 16-bit numbers per segment, `<segment>.nrrd`; of a label map one file of bytes, each a segment's number.
    Raises `OSError`, `ValueError` or `EOFError` where one is no such file.
    """
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.nrrd")):
        counts.update(_voxels(path))
    return Reading(voxels={number: count for number, count in counts.items() if count})


def _voxels(path: Path) -> dict[str, int]:
    """Voxels of the segments in one NRRD file."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second of every command

    head, _, body = path.read_bytes().partition(b"\n\n")
    labels = b"type: unsigned char" in head
    if b"encoding: gzip" not in head or not (labels or b"type: short" in head):
        raise ValueError("a NRRD file of another kind than expected")
    with gzip.open(BytesIO(body)) as stream:
        content = np.frombuffer(stream.read(SEGMENTS_LIMIT), "u1" if labels else "<i2")
    if not labels:
        return {path.stem: int(np.count_nonzero(content))}
    return {str(n): int(count) for n, count in enumerate(np.bincount(content)) if n}
