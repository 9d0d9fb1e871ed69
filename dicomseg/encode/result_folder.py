"""The files of one result: `encode_all` encodes every object, one after the other, and `result.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.draw.drawing import Drawing
from dicomseg.encode import measurements_sr, midplane_image, seg, volumes_sr
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.pictures import encode_drawing
from dicomseg.encode.result_json import to_json
from dicomseg.result import FurtherFile, ResultObject
from dicomseg.segmentation import Finding

Encoder = Callable[[EncodeInput, Mapping[str, Dataset]], Dataset]

ENCODERS: Final[Mapping[str, Encoder]] = MappingProxyType(
    {
        "seg.dcm": lambda inputs, _: seg.encode(inputs),
        "midplane.dcm": lambda inputs, _: midplane_image.encode(inputs),
        "measurements.dcm": measurements_sr.encode,
        "volumes.dcm": volumes_sr.encode,
    }
)
"""File name to encoder, in order: later objects refer to earlier ones."""

RESULT_FILE: Final = "result.json"
_NOT_DRAWN: Final = Finding(
    "pictures_missing",
    "the page, its PDF and the surfaces could not be drawn; segmentation and measurements are complete",
    "warning",
)


def encode_all(
    inputs: EncodeInput,
    draw: Callable[[], Drawing] | None = None,
    failed: Callable[[Exception], None] = lambda _: None,
) -> dict[str, bytes]:
    """Encode every object of a result; the last file, `result.json`, lists the others with digests.

    draw: returns what was drawn of this result, asked for when the measured objects are encoded; None: no pictures.
    failed: receives the error where it raises; the result then says so in a warning, and is complete without them.
    """
    files, further = _measured(inputs), dict[str, bytes]()
    if draw is not None:
        try:
            drawing = draw()
            pictures = {n: (ds, to_bytes(ds)) for n, ds in encode_drawing(inputs, drawing).items()}
            files, further = {**files, **pictures}, dict(drawing.surfaces)
        except Exception as error:  # noqa: BLE001 - nothing in drawing may cost the measured result
            failed(error)
            warnings = (*inputs.result.warnings, _NOT_DRAWN)
            inputs = replace(inputs, result=replace(inputs.result, warnings=warnings))
            files = _measured(inputs)
    contents = {name: content for name, (_, content) in files.items()} | further
    result = replace(
        inputs.result,
        objects=tuple(_listed(name, ds, content) for name, (ds, content) in files.items()),
        files=tuple(FurtherFile(name, len(c), _digest(c)) for name, c in further.items()),
        predecessor=None if inputs.predecessor is None else inputs.predecessor.result_id,
    )
    text = json.dumps(to_json(result), indent=1, ensure_ascii=False) + "\n"
    return {**contents, RESULT_FILE: text.encode()}


def _measured(inputs: EncodeInput) -> dict[str, tuple[Dataset, bytes]]:
    """Encode the objects that are always there: data set and file by name."""
    encoded: dict[str, Dataset] = {}
    for name, encode in ENCODERS.items():
        encoded[name] = encode(inputs, encoded)
    return {name: (ds, to_bytes(ds)) for name, ds in encoded.items()}


def _listed(name: str, ds: Dataset, content: bytes) -> ResultObject:
    uids = str(ds.SOPClassUID), str(ds.SOPInstanceUID)
    return ResultObject(name, *uids, len(content), _digest(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
