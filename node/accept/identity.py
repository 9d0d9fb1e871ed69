"""The invented patient of one test: a name that is no person's, and UIDs that no archive has seen before."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.encode.uids import make_uid

PATIENT_NAME: Final = "ACCEPTANCE^TEST"
STUDY_DESCRIPTION: Final = "ACCEPTANCE TEST - SYNTHETIC - NO PATIENT"
PRIVATE_GROUP: Final = 0x0029
PRIVATE_CREATOR: Final = "LUMBAR-NODE ACCEPTANCE"
"""A private element shows whether an archive removes them."""
_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True, slots=True)
class Run:
    """One test. token: makes its UIDs its own, so that objects of an earlier test prove nothing."""

    started: datetime
    token: str

    @classmethod
    def begin(cls, started: datetime) -> Run:
        """Begin a test with a new token."""
        return cls(started, secrets.token_hex(8))

    @property
    def name(self) -> str:
        """Name of the test: its moment, and a part of its token."""
        return f"{self.started:%Y%m%d-%H%M%S}-{self.token[:4]}"

    @property
    def patient_id(self) -> str:
        """Patient ID."""
        return f"ACCEPTANCE-{self.name}"

    def uid(self, original: str) -> str:
        """Return this test's UID in the place of one of the phantom."""
        return make_uid("acceptance", self.token, original)


def relabel(ds: Dataset, run: Run) -> None:
    """Give a slice of the phantom to the patient and study of this test; pixels and geometry stay."""
    for keyword in _UIDS:
        setattr(ds, keyword, run.uid(str(ds[keyword].value)))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = PATIENT_NAME, run.patient_id
    ds.PatientBirthDate, ds.PatientSex = "19000101", "O"
    for keyword in ("PatientAge", "PatientSize", "PatientWeight"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.PatientComments = "Synthetic phantom of an acceptance test, no person; may be deleted"
    ds.StudyDescription, ds.StudyID = STUDY_DESCRIPTION, "ACCEPTANCE"
    ds.AccessionNumber = ""
    day, time = f"{run.started:%Y%m%d}", f"{run.started:%H%M%S}"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(ds, keyword, day)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(ds, keyword, time)
    ds.InstanceCreationDate, ds.InstanceCreationTime = day, time
    ds.add_new(0x00280300, "CS", "YES")  # Quality Control Image: of a phantom (PS3.3 C.7.6.1)
    block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", "kept")


def write_source(files: Sequence[Path], folder: Path, run: Run) -> tuple[Path, ...]:
    """Write the slices of the phantom as those of this test; returns the new files."""
    folder.mkdir(parents=True, mode=0o700)
    written = []
    for file in files:
        ds = dcmread(file)
        relabel(ds, run)
        written.append(folder / file.name)
        ds.save_as(written[-1], enforce_file_format=True)
    return tuple(written)
