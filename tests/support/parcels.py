"""Result files as a destination gets them."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from node.deliver.port import ResultFile, read_result_file

STUDY, SERIES = "2.25.1", "2.25.2"
FILES = ("seg.dcm", "measurements.dcm")
UIDS = {"seg.dcm": "2.25.11", "measurements.dcm": "2.25.12"}


def write_result(path: Path, sop_class: str, uid: str) -> None:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.PatientName = "Test^Destination"
    ds.save_as(path, enforce_file_format=True)


def files_of(folder: Path, files: tuple[str, ...]) -> tuple[ResultFile, ...]:
    return tuple(read_result_file(folder / name) for name in files)
