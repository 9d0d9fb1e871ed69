from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from node.console.picture import SUMMARY, png, summary_png


def _write(folder: Path, rgb: Any, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        SecondaryCaptureImageStorage,
        "1.2",
    )
    ds = FileDataset(folder / SUMMARY, {}, preamble=b"\0" * 128, file_meta=meta)
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated = *rgb.shape[:2], 3, 8
    ds.PlanarConfiguration, ds.PhotometricInterpretation = 0, "RGB"
    ds.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
    for key, value in changes.items():
        setattr(ds, key, value)
    ds.save_as(folder / SUMMARY, enforce_file_format=True)


@pytest.fixture
def rgb() -> Any:
    return np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def test_pixels_arrive_as_they_were(tmp_path: Path, rgb: Any) -> None:
    _write(tmp_path, rgb)
    content = summary_png(tmp_path)
    assert content is not None
    assert np.array_equal(np.asarray(Image.open(BytesIO(content))), rgb)
    assert np.array_equal(np.asarray(Image.open(BytesIO(png(7, 5, rgb.tobytes())))), rgb)


@pytest.mark.parametrize(
    "changes",
    [
        {"SOPClassUID": MRImageStorage}, {"BitsAllocated": 16}, {"Rows": 8}, {"Rows": 5000}, {"Columns": 0},
        {"SamplesPerPixel": 1}, {"PlanarConfiguration": 1},
    ],
)  # fmt: skip
def test_anything_else_is_no_picture(tmp_path: Path, rgb: Any, changes: dict[str, Any]) -> None:
    _write(tmp_path, rgb, **changes)
    assert summary_png(tmp_path) is None


def test_no_file_a_broken_one_and_a_huge_one_are_no_picture(tmp_path: Path) -> None:
    assert summary_png(tmp_path) is None
    (tmp_path / SUMMARY).write_bytes(b"no DICOM")
    assert summary_png(tmp_path) is None
    with (tmp_path / SUMMARY).open("wb") as file:
        file.truncate(65_000_000)
    assert summary_png(tmp_path) is None
