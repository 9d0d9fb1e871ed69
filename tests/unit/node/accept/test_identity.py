"""The invented patient of a test."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from node.accept.identity import PRIVATE_GROUP, Run, relabel


@pytest.fixture
def slice_() -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):  # fmt: skip
        setattr(ds, keyword, f"1.2.{len(keyword)}")
    ds.PatientName, ds.PatientID, ds.PatientWeight = "Phantom^Twelve", "PHANTOM", "70"
    ds.ImagePositionPatient, ds.PixelData = [1.5, 2.25, -3], b"\1\2"
    return ds


def run(suffix: str = "00ff") -> Run:
    return Run(datetime(2026, 3, 1, 9, 30, tzinfo=UTC), suffix)


def test_a_slice_is_plainly_synthetic_and_keeps_geometry_and_pixels(slice_: Dataset) -> None:
    relabel(slice_, run())
    assert str(slice_.PatientName) == "ACCEPTANCE^TEST"
    assert slice_.PatientID == "ACCEPTANCE-20260301-093000-00ff"
    assert "NO PATIENT" in slice_.StudyDescription
    assert slice_.QualityControlImage == "YES"
    assert "PatientWeight" not in slice_
    assert slice_[PRIVATE_GROUP, 0x1001].value == "kept"
    assert (slice_.ImagePositionPatient, slice_.PixelData) == ([1.5, 2.25, -3], b"\1\2")


def test_every_run_has_uids_of_its_own_and_they_agree_within_it(slice_: Dataset) -> None:
    first, second = copy.deepcopy(slice_), copy.deepcopy(slice_)
    for ds in (first, second):
        ds.file_meta = FileMetaDataset()
    relabel(first, run("aa"))
    relabel(second, run("bb"))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID == run("aa").uid("1.2.16")
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert Run.begin(run().started).token != Run.begin(run().started).token
