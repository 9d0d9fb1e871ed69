"""Encode a trial of every object before the network runs, so that unusable headers cost no segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.gather import build_result
from dicomseg.encode.result_folder import ENCODERS
from dicomseg.encode.sanitise import Headers
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.errors import SeriesRefused
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.read.pixels import Source
from dicomseg.result import Measurement, Measurements, Refusal
from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.structures import CHANNELS, SEGMENTS
from dicomseg.volume import Volume, to_point

SIZE: Final = (2, 8, 8)
"""Voxels of the trial: two slices, so that there is a step between them, and room for every segment."""


_SKIPPED: Final = "volumes.dcm"
"""Takes from the headers what `measurements.dcm` takes, by the same lines, and would double the trial's time."""


class HeadersRefused(SeriesRefused):
    """An attribute of the source cannot be written into a result; correct it at the source."""

    code = "headers-refused"


@dataclass(frozen=True, slots=True, eq=False)
class TrialInput:
    """What of an `EncodeInput` is known before its segmentation."""

    source: Source
    headers: Headers
    key: ResultKey
    engine: EngineInfo
    identity: Identity
    created: datetime


def rehearse(trial: TrialInput) -> None:
    """Encode a corner of two slices as every kind of object. Raises `HeadersRefused` with the attribute's name."""
    fault = _fault(trial)
    if fault is None:
        return
    named = next(
        (
            k
            for k, headers in _without(trial.headers)
            if _fault(replace(trial, headers=headers)) is None
        ),
        "",
    )
    what = f"its attribute {named}" if named else "its headers"
    raise HeadersRefused(
        f"no result can be written from {what} ({type(fault).__name__}); correct it at the source and send it again"
    )


def _fault(trial: TrialInput) -> Exception | None:
    try:
        inputs, encoded = _encode_input(trial), dict[str, Dataset]()
        for name, encode in ENCODERS.items():
            if name != _SKIPPED:
                encoded[name] = encode(inputs, encoded)
                to_bytes(encoded[name])
    except Exception as error:  # noqa: BLE001 - whatever an encoder raises here is the headers' fault
        return error
    return None


def _without(headers: Headers) -> Iterator[tuple[str, Headers]]:
    """The headers without each of their attributes in turn."""
    for keyword, rest in _without_each(headers.identity):
        yield keyword, replace(headers, identity=rest)
    for keyword, rest in _without_each(headers.acquisition):
        yield keyword, replace(headers, acquisition=rest)
    for keyword, rest in _without_each(headers.equipment):
        yield keyword, replace(headers, equipment=rest)
    yield "RequestAttributesSequence", replace(headers, requests=())


def _without_each(whole: Dataset) -> Iterator[tuple[str, Dataset]]:
    held = dict(whole.items())
    for tag in held:
        rest = Dataset()
        rest.update({t: element for t, element in held.items() if t != tag})
        yield keyword_for_tag(tag), rest


def _encode_input(trial: TrialInput) -> EncodeInput:
    grid = trial.source.grid
    shape = tuple(min(n, most) for n, most in zip(grid.shape, SIZE, strict=True))
    count, rows, columns = shape
    part = Volume(trial.source.volume.array[:count, :rows, :columns], grid.affine)
    small = replace(
        grid,
        instances=grid.instances[:1] if grid.frame_order else grid.instances[:count],
        frame_order=grid.frame_order[:count],
        shape=(count, rows, columns),
    )
    source = Source(small, trial.source.datasets[: len(small.instances)], part)
    segmentation = _segmentation(part, trial.engine)
    refusal = Refusal("rehearsal", "rehearsal")
    main = {name: Measurement(name, "", refusal=refusal) for name in MAIN_MEASUREMENTS}
    measured = Measurements(None, dict(main))
    result = build_result(
        source, trial.headers, segmentation, measured, trial.key, trial.created, {}
    )
    return EncodeInput(
        result,
        source,
        segmentation,
        trial.key,
        trial.headers,
        trial.identity,
        trial.created,
        trial.key,
    )


def _segmentation(part: Volume, engine: EngineInfo) -> Segmentation:
    """One voxel of every segment."""
    nothing = np.zeros(part.shape, np.uint8)
    sides = nothing.copy()
    numbers = [s.number for s in SEGMENTS][: sides.size]
    sides.flat[: len(numbers)] = numbers
    return Segmentation(
        level=Level(to_point(part.affine[:3, 3]), (0.0, 0.0, 1.0), 1.0),
        labels=Labels(part.with_array(nothing), nothing.astype(bool)),
        sides=part.with_array(sides),
        scores=Scores(np.zeros((CHANNELS, 1, 1, 1), np.float32), part.affine),
        engine=engine,
    )
