"""Small T2 SPACE series of 4 × 4 pixels on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.journal.rows import SeriesKey

WriteSeries = Callable[..., list[Path]]
KEY = SeriesKey("1.2.1", "1.2.3")
"""The series that `write_series` writes unless another one is asked for."""


def _slice(number: int, series: str, changes: dict[str, Any]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.1", series, "1.2.9"
    ds.PatientName, ds.PatientID, ds.Modality = "Test^Node", "T1", "MR"
    ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = 3, number, "t2_spc"
    ds.ImageType, ds.BodyPartExamined = ["ORIGINAL", "PRIMARY", "M", "ND"], "LSPINE"
    ds.ScanningSequence, ds.MRAcquisitionType, ds.SequenceName = "SE", "3D", "*spcR"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 2800.0, 189.0, 60
    ds.Rows = ds.Columns = 4
    ds.PixelSpacing, ds.SliceThickness = [1.0, 1.0], 1.0
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0.0, 0.0, float(number)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = bytes(range(number, number + 32))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def write_series() -> WriteSeries:
    """Write a T2 SPACE series of 4 × 4 pixels; keywords change attributes of every slice."""

    def write(
        folder: Path, *, series: str = "1.2.3", slices: int = 14, **changes: Any
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number in range(1, slices + 1):
            path = folder / f"{series}.{number}.dcm"
            _slice(number, series, changes).save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
