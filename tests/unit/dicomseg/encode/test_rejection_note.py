from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    SegmentationStorage,
)

from dicomseg.encode.rejection_note import Rejection, RejectionReason, encode

WHEN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
CLASSES = (SegmentationStorage, MRImageStorage, Comprehensive3DSRStorage, Comprehensive3DSRStorage)
CAUSES: tuple[RejectionReason, ...] = ("corrected_identity", "newer_input", "withdrawn")


def _object(number: int, sop_class: str, changes: dict[str, Any]) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"2.25.4.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", f"2.25.3.{number}"
    ds.PatientName, ds.PatientID = "Wrong^Person", "P-1"
    ds.PatientBirthDate, ds.PatientSex = "19500101", "F"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20300101", "1200", "A1", "1"
    ds.ReferringPhysicianName, ds.Manufacturer = "", "lumbar-node"
    ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "lumbar-node", "0", "1"
    ds.Modality = "SR"
    if sop_class in {SegmentationStorage, MRImageStorage}:
        ds.Rows = ds.Columns = 8
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def _rejection(because: RejectionReason = "corrected_identity", **changes: Any) -> Rejection:
    return Rejection("r1", because, [_object(n, c, changes) for n, c in enumerate(CLASSES)])


@pytest.mark.parametrize(
    ("because", "code"),
    [("corrected_identity", "113038"), ("newer_input", "113001"), ("withdrawn", "113001")],
)
def test_note_rejects_every_object_under_the_identity_it_was_sent_with(
    because: RejectionReason, code: str
) -> None:
    ds = dcmread(BytesIO(encode(_rejection(because), WHEN)))
    assert (ds.SOPClassUID, ds.Modality) == (KeyObjectSelectionDocumentStorage, "KO")
    title = ds.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == (code, "DCM")
    assert (ds.PatientID, ds.PatientName, ds.StudyInstanceUID) == ("P-1", "Wrong^Person", "2.25.1")
    assert ds.ContentQualification == "RESEARCH"
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    found = {
        item.ReferencedSOPInstanceUID: (series.SeriesInstanceUID, item.ReferencedSOPClassUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert found == {f"2.25.4.{n}": (f"2.25.3.{n}", c) for n, c in enumerate(CLASSES)}
    kinds = [i.ValueType for i in ds.ContentSequence]
    assert kinds == ["TEXT", "IMAGE", "IMAGE", "COMPOSITE", "COMPOSITE"]
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in ds.ContentSequence[1:]]
    assert named == [f"2.25.4.{n}" for n in range(4)]


def test_same_objects_and_reason_are_the_same_note_and_others_are_another() -> None:
    first = encode(_rejection(), WHEN)
    assert encode(_rejection(), WHEN) == first
    keys = [
        _rejection().key,
        _rejection("newer_input").key,
        Rejection("r2", "corrected_identity", _rejection().objects).key,
        Rejection("r1", "corrected_identity", _rejection().objects[:3]).key,
    ]
    assert len(set(keys)) == 4
    assert Rejection("r1", "corrected_identity", _rejection().objects[::-1]).key == keys[0]
    uids = {dcmread(BytesIO(first)).SOPInstanceUID, dcmread(BytesIO(first)).SeriesInstanceUID}
    assert uids == {keys[0].uid("rejection.instance"), keys[0].uid("rejection.series")}


@pytest.mark.process
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
@pytest.mark.parametrize("because", CAUSES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"IssuerOfPatientID": "HOSPITAL"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "山田^太郎"},
        {"PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": ""},
    ],
)
def test_dciodvfy_finds_no_error(
    tmp_path: Path, because: RejectionReason, changes: dict[str, Any]
) -> None:
    file = tmp_path / "rejection.dcm"
    file.write_bytes(encode(_rejection(because, **changes), WHEN))
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr
    assert dcmread(file).get("IssuerOfPatientID", "") == changes.get("IssuerOfPatientID", "")
    assert dcmread(file).PatientName == changes.get("PatientName", "Wrong^Person")
