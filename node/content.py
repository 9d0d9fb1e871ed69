"""What a received data set says of itself, without trusting it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread

UID_CHARACTERS: Final = frozenset("0123456789.")


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One C-STORE: file meta bytes, the data set's bytes, and what the request said of them."""

    meta: bytes
    data: bytes | memoryview
    digest: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str


_TOLD: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def identifiers(meta: bytes, data: bytes | memoryview) -> dict[str, str]:
    """UIDs that the data set itself names; empty when it cannot be read."""
    try:
        with BytesIO(meta + bytes(data)) as whole:
            ds = dcmread(whole, stop_before_pixels=True, specific_tags=list(_TOLD))
        return {name: str(ds.get(name, "") or "").strip() for name in _TOLD}
    except Exception:  # noqa: BLE001 - hostile bytes may break a parser in any way
        return dict.fromkeys(_TOLD, "")


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    return (
        0 < len(text) <= 64
        and set(text) <= UID_CHARACTERS
        and not text.startswith(".")
        and not text.endswith(".")
    )


def why_unusable(told: dict[str, str], affected: str) -> str:
    """Why an object cannot be tracked, or "" when it can."""
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not is_uid(told[name]):
            return f"the data set has no valid {name}, or cannot be read"
    if told["SOPInstanceUID"] != affected:
        return "the data set's SOP Instance UID is not the one of the C-STORE request"
    return ""


def same_content(path: Path, meta: bytes, data: bytes | memoryview) -> bool:
    """Whether an object equals a stored one but for its transfer syntax: elements and decoded pixels."""
    try:
        old, new = dcmread(path), dcmread(BytesIO(meta + bytes(data)))
        if old.file_meta.TransferSyntaxUID == new.file_meta.TransferSyntaxUID:
            return False
        first, second = (
            (ds.pixel_array if "PixelData" in ds else np.zeros(0)) for ds in (old, new)
        )
        for ds in (old, new):
            for keyword in ("PixelData", "PhotometricInterpretation", "PlanarConfiguration"):
                if keyword in ds:
                    delattr(ds, keyword)
        return bool(np.array_equal(first, second)) and bool(old == new)
    except Exception:  # noqa: BLE001 - what cannot be compared is not the same
        return False
