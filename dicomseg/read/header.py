"""Read one file's header into an `Instance`."""

from __future__ import annotations

import re
import warnings
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomseg.errors import Unreadable
from dicomseg.read import attributes
from dicomseg.read.instance import Instance
from dicomseg.read.mr_attributes import read_mr_attributes
from dicomseg.read.parsing import Cut, Pixels, TooLarge, parse_header
from dicomseg.read.predicates import MR_CLASSES

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

_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR (PS3.10 section 8.6)."""

_ARCHIVES: Final = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b\x08": "a gzip archive"}


class MediaDirectory(Unreadable):
    """The file is a DICOMDIR, the table of contents of a disc, not an image; leave it out."""

    code = "media-directory"


def read_instance(path: Path) -> Instance:
    """Read one file's header. Raises `Unreadable` and nothing else, whatever the file holds.

    Neither the pixels nor an inflated data set are held.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except Unreadable:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Unreadable(
            f"{path.name}: cannot be read ({reason}); check path and permissions"
        ) from error


def _read(path: Path, file: BufferedReader) -> Instance:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = parse_header(file)
            ds = parsed.header
            _refuse_others(ds, path, file)
            instance = instance_from_dataset(ds, path, parsed.digest, parsed.pixels)
            _check_pixel_length(ds, instance, parsed.pixels)
            return instance
    except Unreadable:
        raise
    except Exception as error:  # hostile bytes may break a parser in any way
        reason = str(error) if isinstance(error, (TooLarge, Cut)) else type(error).__name__
        raise Unreadable(
            _archive(path, file)
            or f"{path.name}: not a complete DICOM object ({reason}); send it again"
        ) from error


def _refuse_others(ds: Dataset, path: Path, file: BufferedReader) -> None:
    """Raise `Unreadable` for a file that holds no object of a series."""
    sop_class = attributes.text(ds.file_meta, "MediaStorageSOPClassUID")
    if sop_class == _MEDIA_DIRECTORY or "DirectoryRecordSequence" in ds:
        raise MediaDirectory(f"{path.name}: a DICOMDIR, not an image; leave it out")
    if not sop_class and "SOPClassUID" not in ds:
        raise Unreadable(
            _archive(path, file)
            or f"{path.name}: not a DICOM object (no SOP Class UID); leave it out"
        )


def _archive(path: Path, file: BufferedReader) -> str:
    file.seek(0)
    head = file.read(4)
    kinds = [name for magic, name in _ARCHIVES.items() if head.startswith(magic)]
    return f"{path.name}: {kinds[0]}; unpack it first" if kinds else ""


def _check_pixel_length(ds: Dataset, instance: Instance, pixels: Pixels | None) -> None:
    """Refuse an MR object without size, without or with too few native pixels: pydicom does not notice."""
    name, is_mr = instance.path.name, instance.sop_class_uid in MR_CLASSES
    if pixels is None:
        if is_mr:
            raise Unreadable(f"{name}: an MR image without pixel data; send it again")
        return
    if is_mr and not (instance.rows and instance.columns):
        raise Unreadable(f"{name}: an MR image without Rows or Columns; send it again")
    if pixels.length is None or instance.transfer_syntax_uid not in _NATIVE:
        return
    bits = (attributes.integer(ds, "BitsAllocated") or 0) * (
        attributes.integer(ds, "SamplesPerPixel") or 1
    )
    pixel_count = (instance.rows or 0) * (instance.columns or 0) * instance.frames
    expected = max(pixel_count * bits // 8, pixels.length)
    have = min(pixels.available, pixels.length)
    if have < expected:
        raise Unreadable(
            f"{name}: truncated, {have} of {expected} bytes of pixel data; send it again"
        )


def instance_from_dataset(
    ds: Dataset, path: Path, digest: str, pixels: Pixels | None = None
) -> Instance:
    """Take the attributes from a data set. Raises `Unreadable` when a UID is missing or invalid.

    pixels: the pixel element of a data set that was read without it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fields = {**_identity(ds, path), **read_mr_attributes(ds)}
    if pixels is not None:
        fields |= {"has_pixels": True, "pixel_digest": pixels.digest}
    return Instance(path=path, digest=digest, **fields)


def _identity(ds: Dataset, path: Path) -> dict[str, Any]:
    meta = getattr(ds, "file_meta", None) or Dataset()
    uids = {
        "sop_class_uid": attributes.text(ds, "SOPClassUID")
        or attributes.text(meta, "MediaStorageSOPClassUID"),
        "sop_instance_uid": attributes.text(ds, "SOPInstanceUID")
        or attributes.text(meta, "MediaStorageSOPInstanceUID"),
        "study_uid": attributes.text(ds, "StudyInstanceUID"),
        "series_uid": attributes.text(ds, "SeriesInstanceUID"),
    }
    bad = [name.replace("_", " ") for name, uid in uids.items() if not _UID.fullmatch(uid)]
    if bad:
        raise Unreadable(
            f"{path.name}: no valid {', '.join(bad)}; export the object again with its UIDs"
        )
    frame = attributes.text(ds, "FrameOfReferenceUID")
    return {
        **uids,
        "frame_of_reference_uid": frame if _UID.fullmatch(frame) else "",
        "transfer_syntax_uid": attributes.text(meta, "TransferSyntaxUID"),
    }
