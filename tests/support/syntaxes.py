"""Objects in every transfer syntax."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomseg.read import parsing


def store_object(tmp_path: Path, ds: Dataset) -> Path:
    path = tmp_path / "stored.dcm"
    path.write_bytes(b"".join(in_syntax(ds, ExplicitVRLittleEndian)))
    return path


def in_syntax(ds: Dataset, syntax: str) -> tuple[bytes, bytes]:
    """File meta and data set of the object in another transfer syntax."""
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    dcmwrite(
        out,
        ds,
        implicit_vr=implicit,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    raw = out.getvalue()
    at = parsing.split_file_meta(raw)[0]
    return raw[:at], raw[at:]
