"""One identity, one scanner, one space, one predecessor: each object that leaves the others is named."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicomseg.encode.uids import ResultKey
from node.verify import check_identity
from node.verify.objects import ResultSet


def _names(check: object, results: ResultSet) -> list[tuple[str, str]]:
    return list(check(results))  # type: ignore[operator]


CHECKS = [
    check_identity.same_identity,
    check_identity.texts_are_readable,
    check_identity.same_scanner,
    check_identity.one_space,
    check_identity.same_predecessor,
    check_identity.only_research,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_a_correct_result_passes(check: object, results: ResultSet) -> None:
    assert _names(check, results) == []


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate",
        "OtherPatientIDsSequence", "AccessionNumber", "StudyInstanceUID", "TimezoneOffsetFromUTC",
        "SpecificCharacterSet", "SeriesDate", "SeriesTime", "DeviceSerialNumber",
    ],
)  # fmt: skip
def test_an_object_without_an_attribute_of_the_others_is_named_and_no_value(
    results: ResultSet, keyword: str
) -> None:
    del results.objects["midplane.dcm"][keyword]
    assert _names(check_identity.same_identity, results) == [
        ("midplane.dcm", f"{keyword} differs from that of the other objects")
    ]


def test_another_patient_in_one_object(results: ResultSet) -> None:
    """Also an attribute that no table of ours lists."""
    results.objects["seg.dcm"].PatientName = "Roe^John"
    results.objects["seg.dcm"].PatientReligiousPreference = "none"
    found = _names(check_identity.same_identity, results)
    assert found == [
        ("seg.dcm", f"{keyword} differs from that of the other objects")
        for keyword in ("PatientName", "PatientReligiousPreference")
    ]
    assert "Roe" not in str(found)


@pytest.mark.parametrize("name", ["seg.dcm", "volumes.dcm"])
def test_another_request_in_an_image_or_a_report(results: ResultSet, name: str) -> None:
    ds = results.objects[name]
    keyword = "ReferencedRequestSequence" if ds.Modality == "SR" else "RequestAttributesSequence"
    ds[keyword].value[0].RequestedProcedureID = "RP2"
    assert _names(check_identity.same_identity, results) == [
        (name, "the request differs from that of the other objects")
    ]


@pytest.mark.parametrize("text", ["\x1b$B9xDG", "Doe^\ufffdJane"])
def test_text_that_is_damaged_in_every_object(results: ResultSet, text: str) -> None:
    """It is the same everywhere, and a worklist wrote something else."""
    for ds in results.objects.values():
        held = "ReferencedRequestSequence" if ds.Modality == "SR" else "RequestAttributesSequence"
        ds[held].value[0].RequestedProcedureDescription = text
    assert _names(check_identity.same_identity, results) == []
    assert _names(check_identity.texts_are_readable, results) == [
        (name, "RequestedProcedureDescription is not text of the object's character set")
        for name in results.objects
    ]


def test_the_node_as_the_scanner(results: ResultSet) -> None:
    for ds in results.objects.values():
        scanner = ds.ContributingEquipmentSequence[0]
        scanner.Manufacturer, scanner.ManufacturerModelName = (
            ds.Manufacturer,
            ds.ManufacturerModelName,
        )
    found = _names(check_identity.same_scanner, results)
    assert {name for name, _ in found} == set(results.objects)
    assert {text.split(";")[0] for _, text in found} == {
        "the node is named as Acquisition Equipment"
    }


def test_an_object_without_scanner_and_one_of_another_model(results: ResultSet) -> None:
    del results.objects["seg.dcm"].ContributingEquipmentSequence[0]
    results.objects["volumes.dcm"].ContributingEquipmentSequence[1].SoftwareVersions = "1"
    assert sorted(name for name, _ in _names(check_identity.same_scanner, results)) == [
        "seg.dcm", "volumes.dcm",
    ]  # fmt: skip


def test_another_space(results: ResultSet) -> None:
    results.objects["midplane.dcm"].FrameOfReferenceUID = "1.2.3"
    assert {n for n, _ in _names(check_identity.one_space, results)} == {"midplane.dcm"}
    del results.objects["seg.dcm"].FrameOfReferenceUID
    assert {n for n, _ in _names(check_identity.one_space, results)} == {"midplane.dcm", "seg.dcm"}


def test_a_predecessor_that_is_absent_wrong_or_too_much(results: ResultSet) -> None:
    del results.objects["seg.dcm"].ReferencedImageSequence
    item: Dataset = results.objects["volumes.dcm"].PredecessorDocumentsSequence[0]
    item.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2"
    assert [n for n, _ in _names(check_identity.same_predecessor, results)] == [
        "seg.dcm", "volumes.dcm",
    ]  # fmt: skip
    results.result["predecessor"] = None  # type: ignore[index]
    named = [n for n, _ in _names(check_identity.same_predecessor, results)]
    assert named == ["midplane.dcm", "measurements.dcm", "volumes.dcm"]


def test_a_predecessor_in_another_form(results: ResultSet) -> None:
    (item,) = results.objects["seg.dcm"].ReferencedImageSequence
    item.ReferencedSOPInstanceUID = ResultKey("1" * 32).uid("seg.labelmap.instance")
    assert _names(check_identity.same_predecessor, results) == []
    item.ReferencedSOPInstanceUID = ResultKey("1" * 32).uid("volumes.instance")
    assert [n for n, _ in _names(check_identity.same_predecessor, results)] == ["seg.dcm"]


def test_what_is_verified_or_a_product(results: ResultSet) -> None:
    results.objects["measurements.dcm"].VerificationFlag = "VERIFIED"
    results.objects["midplane.dcm"].ContentQualification = "PRODUCT"
    equipment = results.objects["seg.dcm"].ContributingEquipmentSequence[1]
    equipment.ContributionDescription = "segmentation"
    assert _names(check_identity.only_research, results) == [
        ("seg.dcm", 'no Contributing Equipment says "research use only"'),
        ("midplane.dcm", "Content Qualification is not RESEARCH"),
        ("measurements.dcm", "Verification Flag is not UNVERIFIED"),
    ]
