"""Objects of a small segmentation from headers of every oddity: valid, and all of the same patient."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomseg.draw.drawing import Drawing
from dicomseg.encode.rehearsal import HeadersRefused, rehearse
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.sanitise import (
    IDENTITY,
    headers_from,
)
from dicomseg.encode.uids import make_uid
from tests.support.encoded import FILES, changed, enhanced, errors_of, read, warnings_of

pytestmark = pytest.mark.process  # dciodvfy judges what is written


# ---- who it is -----------------------------------------------------------------------------------


def rich(ds: Dataset) -> None:
    """Everything that a hospital's worklist puts into patient and study."""
    issuer, other, request, code, study = (Dataset() for _ in range(5))
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "999", "INS", "TEXT"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MRLWS", "99RIS", "Lumbar spine"
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.9"
    request.RequestedProcedureID, request.AccessionNumber = "RP1", "A1"
    request.ScheduledProcedureStepID, request.RequestedProcedureDescription = "SPS1", "LWS"
    request.RequestedProcedureCodeSequence = [code]
    ds.IssuerOfPatientID, ds.IssuerOfPatientIDQualifiersSequence = "HOSP", [issuer]
    ds.OtherPatientIDsSequence, ds.ProcedureCodeSequence = [other], [code]
    ds.ReferencedStudySequence, ds.RequestAttributesSequence = [study], [request]
    ds.PatientComments, ds.EthnicGroup, ds.AdmissionID = "comment\r\nmore", "none", "ADM1"
    ds.AdditionalPatientHistory, ds.MedicalAlerts, ds.Allergies = "pain", ["a", "b"], "latex"
    ds.PatientAge, ds.PatientWeight, ds.PatientSize, ds.PregnancyStatus = "056Y", "70", "1.7", 4
    ds.TimezoneOffsetFromUTC, ds.AccessionNumber, ds.StudyID = "+0900", "A1", "S1"
    ds.ClinicalTrialSponsorName, ds.ClinicalTrialProtocolID = "sponsor", "protocol"
    ds.ClinicalTrialSubjectID = "subject"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "NO", "none"
    local = Dataset()
    local.LocalNamespaceEntityID = "LOC"
    for keyword in ("AccessionNumber", "AdmissionID", "ServiceEpisodeID"):
        ds[f"IssuerOf{keyword}Sequence"] = DataElement(
            Tag(f"IssuerOf{keyword}Sequence"), "SQ", [local]
        )
    for keyword in (
        "AdmittingDiagnoses",
        "ReasonForVisit",
        "ReasonForPerformedProcedure",
        "DeidentificationMethod",
    ):
        ds[f"{keyword}CodeSequence"] = DataElement(Tag(f"{keyword}CodeSequence"), "SQ", [code])
    ds.OtherPatientIDs, ds.OtherPatientNames, ds.TypeOfPatientID = (
        ["a", "b"],
        ["X^A", "B^C"],
        "TEXT",
    )
    ds.PatientBirthTime, ds.PatientBodyMassIndex, ds.Occupation = "010203", "24.1", "miner"
    ds.ServiceEpisodeID, ds.ServiceEpisodeDescription, ds.PatientState = "E", "episode", "well"
    ds.AdmittingDiagnosesDescription, ds.ReasonForVisit = ["x", "y"], "pain"
    ds.SmokingStatus, ds.QualityControlSubject, ds.RequestingService = "NO", "NO", "ward"
    ds.PhysiciansOfRecord, ds.NameOfPhysiciansReadingStudy = ["A^B", "C^D"], "R^S"
    ds.ConsultingPhysicianName, ds.ClinicalTrialTimePointDescription = "Q^T", "first"


def test_patient_and_study_are_the_same_in_every_object(studio: Any, tmp_path: Path) -> None:
    source = changed(studio, rich)
    files = studio.encode(source)
    objects = read(files)
    for keyword in IDENTITY:
        values = {str(ds.get(keyword)) for ds in objects.values()}
        assert len(values) == 1, keyword
        if keyword in source[0]:
            assert values == {str(source[0][keyword].value)}, keyword
    assert errors_of(files, tmp_path) == []
    assert "header_cleaned" not in warnings_of(files)
    for name, ds in objects.items():
        held = "ReferencedRequestSequence" if ds.Modality == "SR" else "RequestAttributesSequence"
        (item,) = ds[held].value
        assert (item.RequestedProcedureID, item.AccessionNumber) == ("RP1", "A1"), name
        # 03:04:05 UTC in the zone of the source
        assert (ds.ContentDate, str(ds.ContentTime)[:6]) == ("20300102", "120405"), name
        equipment = ds.ContributingEquipmentSequence
        assert "Maker" in {i.Manufacturer for i in equipment}, name


@pytest.mark.parametrize("value", [None, "", "garbage"])
def test_an_absent_frame_of_reference_is_made_from_the_series(
    studio: Any, put_raw: Any, tmp_path: Path, value: str | None
) -> None:
    def change(ds: Dataset) -> None:
        del ds.FrameOfReferenceUID
        if value is not None:
            put_raw(ds, "FrameOfReferenceUID", value.encode())

    files = studio.encode(changed(studio, change))
    made = {ds.FrameOfReferenceUID for ds in read(files).values() if "FrameOfReferenceUID" in ds}
    assert made == {make_uid("frame of reference", "1.2.3.4")}
    content = json.loads(files["result.json"])
    assert made == {content["source"]["frame_of_reference"]}
    assert "frame_of_reference_made" in warnings_of(files)
    assert errors_of(files, tmp_path) == []


def test_equal_runs_give_equal_bytes(studio: Any) -> None:
    source = changed(studio, rich)
    assert studio.encode(source) == studio.encode(source)


# ---- pictures ------------------------------------------------------------------------------------

DRAWN = Drawing(
    np.zeros((2, 2, 3), np.uint8), b"%PDF-1.4", "a page", b"solid", {"surfaces/l4.stl": b"mesh"}
)


def test_pictures_are_objects_of_the_result_and_surfaces_further_files(
    studio: Any, tmp_path: Path
) -> None:
    inputs = studio.inputs(changed(studio, rich))
    files = encode_all(inputs, lambda: DRAWN)
    assert list(files) == [
        *FILES, "summary.dcm", "report.dcm", "surface.dcm", "surfaces/l4.stl", "result.json",
    ]  # fmt: skip
    content = json.loads(files["result.json"])
    objects = read(files)
    for entry in content["objects"]:
        ds = objects[entry["file"]]
        assert entry["sop_class"] == ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID
        assert entry["sop_instance"] == ds.SOPInstanceUID
    listed = {e["file"]: e for e in (*content["objects"], *content["files"])}
    assert [e["file"] for e in content["files"]] == ["surfaces/l4.stl"]
    assert set(listed) == set(files) - {"result.json"}
    for name, entry in listed.items():
        assert entry["bytes"] == len(files[name])
        assert entry["sha256"] == hashlib.sha256(files[name]).hexdigest()
    for keyword in IDENTITY:
        assert len({str(ds.get(keyword)) for ds in objects.values()}) == 1, keyword
    assert errors_of(files, tmp_path, [*objects]) == []


def test_segmentation_too_small_for_a_surface_has_no_surface_object(studio: Any) -> None:
    files = encode_all(studio.inputs(studio.slices()), lambda: replace(DRAWN, stl=b"", surfaces={}))
    assert "summary.dcm" in files
    assert "surface.dcm" not in files
    assert json.loads(files["result.json"])["files"] == []
    assert "pictures_missing" not in warnings_of(files)


@pytest.mark.parametrize("where", ["drawing", "encoding"])
def test_fault_of_drawing_costs_no_measured_object_and_is_a_warning(
    studio: Any, where: str
) -> None:
    inputs = studio.inputs(changed(studio, rich))

    def draw() -> Any:
        if where == "drawing":
            raise MemoryError
        return replace(DRAWN, rgb=None)

    seen: list[Exception] = []
    files, without = encode_all(inputs, draw, seen.append), encode_all(inputs)
    assert [type(e) for e in seen] == [MemoryError if where == "drawing" else AttributeError]
    assert set(files) == set(without) == {*FILES, "result.json"}
    assert {n for n in files if files[n] != without[n]} == {"volumes.dcm", "result.json"}
    assert set(warnings_of(files)) - set(warnings_of(without)) == {"pictures_missing"}
    assert b"pictures_missing" in files["volumes.dcm"]  # a PACS keeps no other file


# ---- before the network runs ---------------------------------------------------------------------


@pytest.mark.parametrize("form", ["classic", "per frame"])
def test_headers_are_tried_before_the_network_in_little_time(studio: Any, form: str) -> None:
    slices = changed(studio, rich)
    plan = studio.plan(slices if form == "classic" else [enhanced(slices, shared=False)])
    rehearse(plan)
    started = time.perf_counter()
    rehearse(plan)
    assert time.perf_counter() - started < 1.0


def test_what_no_encoder_can_write_is_refused_by_its_name(studio: Any) -> None:
    plan = studio.plan(studio.slices())
    with config.disable_value_validation():
        plan.headers.identity[0x00101030] = DataElement(0x00101030, "US", "seventy")
    with pytest.raises(HeadersRefused, match="PatientWeight") as caught:
        rehearse(plan)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_the_encoding_of_the_source_does_not_matter(studio: Any, syntax: str) -> None:
    ds = changed(studio, rich)[0]
    ds.SpecificCharacterSet, ds.PatientName, ds.PatientComments = "ISO_IR 100", "Müller^J", "größer"
    del ds.PixelData
    held = []
    for one in (ExplicitVRLittleEndian, syntax):
        ds.file_meta.TransferSyntaxUID = one
        out = BytesIO()
        ds.save_as(out, enforce_file_format=True)
        out.seek(0)
        held.append(headers_from(pydicom.dcmread(out)))
    first, other = (h.identity for h in held)
    assert [e for e in first] == [e for e in other]  # noqa: C416 - elements, not tags
    assert held[0].character_set == held[1].character_set
    assert held[0].findings == held[1].findings == ()


@pytest.mark.parametrize(
    "keyword", ["RequestedProcedureDescription", "ReasonForTheRequestedProcedure"]
)
def test_a_request_keeps_its_bytes_in_images_and_reports(studio: Any, keyword: str) -> None:
    """Text with escapes must not be decoded without its character set by the first object that is written."""

    def change(ds: Dataset) -> None:
        request = Dataset()
        request.RequestedProcedureID = "RP1"
        request[keyword] = DataElement(Tag(keyword), "LO", "腰椎")
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        ds.PatientName, ds.RequestAttributesSequence = "Yamada^Tarou=山田^太郎", [request]

    for name, ds in read(studio.encode(changed(studio, change))).items():
        held = "ReferencedRequestSequence" if ds.Modality == "SR" else "RequestAttributesSequence"
        (item,) = ds[held].value
        assert item.get_item(keyword).value == "腰椎".encode("iso2022_jp"), name
        assert item[keyword].value == "腰椎", name
