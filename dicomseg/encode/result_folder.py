"""The files of one result: `encode_all` encodes every object, one after the other, and `result.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.encode import measurements_sr, midplane_image, seg, volumes_sr
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.result_json import to_json
from dicomseg.result import ResultObject

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


def encode_all(inputs: EncodeInput) -> dict[str, bytes]:
    """Encode every object of a result; the last file, `result.json`, lists the others with digests."""
    encoded: dict[str, Dataset] = {}
    files: dict[str, bytes] = {}
    listed: list[ResultObject] = []
    for name, encode in ENCODERS.items():
        ds = encoded[name] = encode(inputs, encoded)
        content = files[name] = to_bytes(ds)
        digest = hashlib.sha256(content).hexdigest()
        listed.append(
            ResultObject(name, str(ds.SOPClassUID), str(ds.SOPInstanceUID), len(content), digest)
        )
    before = None if inputs.predecessor is None else inputs.predecessor.result_id
    content_json = to_json(replace(inputs.result, objects=tuple(listed), predecessor=before))
    files[RESULT_FILE] = (json.dumps(content_json, indent=1, ensure_ascii=False) + "\n").encode()
    return files
