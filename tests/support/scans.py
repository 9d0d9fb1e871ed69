"""Tiny classic and Enhanced MR series whose every voxel has another value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from tests.support.shapes import Vector


@dataclass(frozen=True)
class Scan:
    """A tiny classic MR series: patient directions of a row and a column, spacing, first position."""

    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    first_lps: tuple[float, float, float] = (-10.0, -20.0, -30.0)
    spacing_mm: tuple[float, float, float] = (0.9, 0.7, 0.6)  # slices, rows, columns
    shape: tuple[int, int, int] = (14, 6, 5)

    @property
    def normal(self) -> Vector:
        return np.cross(self.row, self.column)

    def position(self, n: float) -> list[float]:
        return [round(float(v), 9) for v in self.first_lps + self.normal * self.spacing_mm[0] * n]

    def pixels(self) -> NDArray[np.uint16]:
        """Every voxel another value: 1 + its flat index."""
        return np.arange(1, np.prod(self.shape) + 1, dtype=np.uint16).reshape(self.shape)

    def dataset(self, n: int) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.3.4.{n + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
            "1.2.3",
            "1.2.3.4",
            "1.2.3.5",
        )
        ds.Modality, ds.InstanceNumber = "MR", n + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = "A^B", "1", "20200101", "080000"
        ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ""
        ds.ScanningSequence, ds.MRAcquisitionType, ds.SequenceName = "SE", "3D", "*spcR_60"
        ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength, ds.EchoNumbers = "120", "1000", 60, 1
        ds.ImageOrientationPatient = [*self.row, *self.column]
        ds.ImagePositionPatient = self.position(n)
        ds.SliceThickness = self.spacing_mm[0]
        ds.PixelSpacing = list(self.spacing_mm[1:])
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = self.shape[1:]
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        ds.PixelData = self.pixels()[n].tobytes()
        return ds

    def datasets(self) -> list[Dataset]:
        return [self.dataset(n) for n in range(self.shape[0])]

    def enhanced(self) -> Dataset:
        """The same volume as one Enhanced MR object, frames in reverse order."""
        ds = self.dataset(0)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime",
                        "ScanningSequence", "EchoTrainLength", "RepetitionTime"):  # fmt: skip
            del ds[keyword]
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        ds.NumberOfFrames = self.shape[0]
        ds.EchoPulseSequence = "SPIN"
        shared, measures, plane, echo, timing = (Dataset() for _ in range(5))
        measures.PixelSpacing, measures.SliceThickness = (
            list(self.spacing_mm[1:]),
            self.spacing_mm[0],
        )
        plane.ImageOrientationPatient = [*self.row, *self.column]
        echo.EffectiveEchoTime = 130.0
        timing.RepetitionTime, timing.RFEchoTrainLength = 1500.0, 76
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [timing]
        ds.SharedFunctionalGroupsSequence = [shared]
        frames = []
        for n in reversed(range(self.shape[0])):
            frame, position = Dataset(), Dataset()
            position.ImagePositionPatient = self.position(n)
            frame.PlanePositionSequence = [position]
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = frames
        ds.PixelData = self.pixels()[::-1].tobytes()
        return ds


SCANS = {
    "axial": Scan(),
    "axial feet first": Scan(column=(0.0, -1.0, 0.0)),
    "sagittal": Scan(row=(0.0, 1.0, 0.0), column=(0.0, 0.0, -1.0)),
    "coronal": Scan(row=(1.0, 0.0, 0.0), column=(0.0, 0.0, -1.0)),
    "oblique": Scan(row=(0.8, 0.0, -0.6), column=(0.0, 1.0, 0.0)),
}


@pytest.fixture
def scan() -> Scan:
    return Scan()


@pytest.fixture(params=sorted(SCANS))
def any_scan(request: pytest.FixtureRequest) -> Scan:
    found: Scan = SCANS[request.param]
    return found


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Sequence[Dataset]], list[Path]]:
    """Write data sets as files, in the order given."""

    def write(datasets: Sequence[Dataset]) -> list[Path]:
        paths = []
        for n, ds in enumerate(datasets):
            paths.append(tmp_path / f"{n:04d}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths

    return write
