"""What came back beside what was sent, as checks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from node.accept import returned


@pytest.fixture
def sent() -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = MRImageStorage, "1.2.3", "1.2"
    ds.PatientName, ds.PatientID = "ACCEPTANCE^TEST", "A"
    ds.ImagePositionPatient = [1.2345, 0, 0]
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 2, 3, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = np.arange(6, dtype="<u2").tobytes()
    return ds


def copied(sent: Dataset) -> Dataset:
    got = copy.deepcopy(sent)
    got.file_meta = copy.deepcopy(sent.file_meta)
    return got


def test_an_intact_copy_passes_every_check(sent: Dataset) -> None:
    pairs = [returned.pair("a", sent, copied(sent))]
    checks = [
        make("g", pairs)
        for make in (
            returned.content_check,
            returned.elements_check,
            returned.coerced_check,
            returned.private_check,
            returned.syntax_check,
        )
    ]
    assert {c.outcome for c in checks} == {"passed"}
    assert returned.identity_check("g", [sent, copied(sent)]).outcome == "passed"


def test_mirrored_pixels_fail_and_are_named(sent: Dataset) -> None:
    got = copied(sent)
    got.PixelData = np.arange(6, dtype="<u2").reshape(2, 3)[:, ::-1].tobytes()
    check = returned.content_check(
        "g", [returned.pair("a", sent, got), returned.pair("b", sent, sent)]
    )
    assert check.outcome == "failed"
    assert check.seen == "1 of 2 differ; a: columns in reverse order"
    both = returned.content_check("g", [returned.pair(n, sent, got) for n in "ab"])
    assert both.seen == "2 of 2 differ; a and 1 more: columns in reverse order"


def test_pixels_that_cannot_be_decoded_fail(sent: Dataset) -> None:
    got = copied(sent)
    got.PixelData = b"\0\0"
    check = returned.content_check("g", [returned.pair("a", sent, got)])
    assert check.outcome == "failed"
    assert "pixels cannot be read" in check.seen


def test_a_document_is_compared_by_its_bytes(sent: Dataset) -> None:
    del sent.PixelData
    sent.EncapsulatedDocument = b"%PDF-"
    got = copied(sent)
    got.EncapsulatedDocument = b"%PDF_"
    assert returned.content_check("g", [returned.pair("a", sent, got)]).outcome == "failed"
    assert returned.content_check("g", [returned.pair("a", sent, copied(sent))]).outcome == "passed"


def test_rounded_positions_fail_and_say_in_how_many_objects_and_by_how_much(sent: Dataset) -> None:
    got = copied(sent)
    got.ImagePositionPatient = [1.23, 0, 0]
    pairs = [returned.pair("a", sent, got), returned.pair("b", sent, got)]
    check = returned.elements_check("g", pairs)
    assert check.outcome == "failed"
    assert check.seen == "ImagePositionPatient changed by up to 0.0045 in 2 of 2"


def test_coercion_and_another_transfer_syntax_are_noted(sent: Dataset) -> None:
    got = copied(sent)
    got.PatientID, got.AccessionNumber = "B", "7"
    got.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pairs = [returned.pair("a", sent, got)]
    assert returned.elements_check("g", pairs).outcome == "passed"
    assert returned.coerced_check("g", pairs).outcome == "noted"
    assert returned.syntax_check("g", pairs).outcome == "noted"
    assert returned.syntax_check("g", pairs).seen == (
        "Explicit VR Little Endian became Implicit VR Little Endian (1)"
    )


def test_images_and_results_under_two_patients_fail(sent: Dataset) -> None:
    got = copied(sent)
    got.PatientID = "B"
    check = returned.identity_check("g", [sent, got])
    assert (check.outcome, check.seen) == ("failed", "PatientID differ")
    assert "B" not in check.seen.split()
