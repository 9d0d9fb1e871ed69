"""Read one file's header into an `Instance`; the predicates over it stand here too by name."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomseg import elements
from dicomseg.errors import Unreadable
from dicomseg.facts import facts
from dicomseg.instance import Instance
from dicomseg.predicates import MR_CLASSES, PREDICATES, Answer, distortion_rank

__all__ = ["PREDICATES", "Answer", "Instance", "distortion_rank", "from_dataset", "read", "split"]

_UID: Final = re.compile(r"[0-9.]{1,64}")

_NATIVE: Final = frozenset(
    {
        "",
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)
"""Transfer syntaxes whose pixel data has the length that the header says; "" without file meta."""

_PARSE_ERRORS: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def split(raw: bytes) -> tuple[int, bool]:
    """Return (offset of the data set, has a file meta group) of a DICOM file's bytes.

    PS3.10 section 7.1: 128 bytes of preamble, "DICM", group 0002 in Explicit VR Little Endian.
    """
    if raw[128:132] != b"DICM":
        return 0, False
    at = 132
    while raw[at : at + 2] == b"\x02\x00":
        long_form = raw[at + 4 : at + 6] in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"}
        head, size = (12, raw[at + 8 : at + 12]) if long_form else (8, raw[at + 6 : at + 8])
        at += head + int.from_bytes(size, "little")
    return min(at, len(raw)), True


def read(path: Path) -> Instance:
    """Read one file's header. Raises `Unreadable` and nothing else, whatever the file holds."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Unreadable(
            f"{path.name}: cannot be read ({error.strerror}); check path and permissions"
        ) from error
    offset, has_meta = split(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(io.BytesIO(raw), force=not has_meta)
            known = "SOPClassUID" in ds or "MediaStorageSOPClassUID" in ds.file_meta
    except _PARSE_ERRORS as error:
        raise Unreadable(
            f"{path.name}: not a complete DICOM object ({type(error).__name__}); send it again"
        ) from error
    if not known:
        raise Unreadable(f"{path.name}: not a DICOM object (no SOP Class UID); leave it out")
    instance = from_dataset(ds, path, hashlib.sha256(raw[offset:]).hexdigest())
    _check_pixel_length(ds, instance)
    return instance


def _check_pixel_length(ds: Dataset, instance: Instance) -> None:
    """Refuse an MR object without, or with too few, native pixels: pydicom does not notice."""
    if not instance.has_pixels and instance.sop_class_uid in MR_CLASSES:
        raise Unreadable(f"{instance.path.name}: an MR image without pixel data; send it again")
    value = elements.raw(ds, "PixelData")
    if not isinstance(value, bytes) or instance.transfer_syntax_uid not in _NATIVE:
        return
    bits = (elements.integer(ds, "BitsAllocated") or 0) * (
        elements.integer(ds, "SamplesPerPixel") or 1
    )
    expected = (instance.rows or 0) * (instance.columns or 0) * instance.frames * bits // 8
    if len(value) < expected:
        raise Unreadable(
            f"{instance.path.name}: truncated, {len(value)} of {expected} bytes of pixel data; send it again"
        )


def from_dataset(ds: Dataset, path: Path, digest: str) -> Instance:
    """Take the facts from a data set. Raises `Unreadable` when a UID is missing or is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Instance(path=path, digest=digest, **_identity(ds, path), **facts(ds))


def _identity(ds: Dataset, path: Path) -> dict[str, Any]:
    meta = getattr(ds, "file_meta", None) or Dataset()
    uids = {
        "sop_class_uid": elements.text(ds, "SOPClassUID")
        or elements.text(meta, "MediaStorageSOPClassUID"),
        "sop_instance_uid": elements.text(ds, "SOPInstanceUID")
        or elements.text(meta, "MediaStorageSOPInstanceUID"),
        "study_uid": elements.text(ds, "StudyInstanceUID"),
        "series_uid": elements.text(ds, "SeriesInstanceUID"),
    }
    bad = [name.replace("_", " ") for name, uid in uids.items() if not _UID.fullmatch(uid)]
    if bad:
        raise Unreadable(
            f"{path.name}: no valid {', '.join(bad)}; export the object again with its UIDs"
        )
    frame = elements.text(ds, "FrameOfReferenceUID")
    return {
        **uids,
        "frame_of_reference_uid": frame if _UID.fullmatch(frame) else "",
        "transfer_syntax_uid": elements.text(meta, "TransferSyntaxUID"),
    }
