"""Identity from headers of every transfer syntax, compared with what pydicom wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from node.observe.identity import Identity, Patient, read_examined, read_identity

EXPECTED = Identity("t2_space_sag", "20260102", "PID-7", "ACC 1", "20260101")


def _nested(depth: int) -> Dataset:
    item = Dataset()
    item.CodeValue = "1"
    if depth:
        item.ReferencedSeriesSequence = Sequence([_nested(depth - 1), _nested(0)])
        item["ReferencedSeriesSequence"].is_undefined_length = depth % 2 == 0
    return item


def _write(path: Path, syntax: str = ExplicitVRLittleEndian, **values: object) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, "1.2.3.4"
    ds.StudyDate, ds.SeriesDate, ds.AccessionNumber = "20260101", "20260102", "ACC 1"
    ds.SeriesDescription, ds.PatientID, ds.PatientName = "t2_space_sag", "PID-7", "A^B"
    ds.ReferencedStudySequence = Sequence([_nested(3), _nested(2)])
    ds["ReferencedStudySequence"].is_undefined_length = True
    ds.Rows, ds.StudyInstanceUID = 4, "1.2"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_values_are_read_behind_nested_sequences(tmp_path: Path, syntax: str) -> None:
    assert read_identity(_write(tmp_path / "a.dcm", syntax)) == EXPECTED


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "Wirbelsäule"),
        ("ISO_IR 192", "позвоночник"),
        ("ISO_IR 144", "спина"),
        ("GB18030", "脊柱"),
    ],
)
def test_description_is_decoded(tmp_path: Path, character_set: str, text: str) -> None:
    file = _write(tmp_path / "a.dcm", SpecificCharacterSet=character_set, SeriesDescription=text)
    assert read_identity(file).description == text


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes().replace(b"t2_space_sag", b"t2\x1b[31m_sag"))
    assert read_identity(file).description == "t2[31m_sag"


@pytest.mark.parametrize("cut", [0, 100, 131, 140, 300])
def test_damaged_file_has_no_identity_or_a_part(tmp_path: Path, cut: int) -> None:
    file = _write(tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes()[:cut])
    assert read_identity(file).patient_id == ""
    assert read_identity(tmp_path / "missing.dcm") == Identity()


def test_every_cut_ends(tmp_path: Path) -> None:
    raw = _write(tmp_path / "a.dcm").read_bytes()
    file = tmp_path / "cut.dcm"
    for size in range(0, len(raw), 3):
        file.write_bytes(raw[:size] + b"\xff" * 8)
        read_identity(file)


WHO = {"IssuerOfPatientID": "HOSP", "PatientBirthDate": "19600102", "PatientSex": "F"}


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_patient_and_examination_are_read(tmp_path: Path, syntax: str) -> None:
    qualifiers = Dataset()
    qualifiers.UniversalEntityID = "1.2"
    examined = read_examined(
        _write(
            tmp_path / "a.dcm", syntax, **WHO, Manufacturer="M", ManufacturerModelName="X", StationName="S1",
            AcquisitionDate="20260103", AcquisitionTime="101500.25", IssuerOfPatientIDQualifiersSequence=Sequence([qualifiers]),
        )
    )  # fmt: skip
    assert examined.patient == Patient("PID-7", "HOSP", "19600102", "F")
    assert (examined.patient_id, examined.description) == ("PID-7", "t2_space_sag")
    assert (examined.date, examined.time) == ("20260103", "101500")
    assert examined.scanner == ("M", "X", "S1")


def test_issuer_and_sex_may_be_absent_and_are_then_part_of_who_it_is(tmp_path: Path) -> None:
    bare = read_examined(_write(tmp_path / "a.dcm", PatientBirthDate="19600102"))
    assert bare.patient == Patient("PID-7", "", "19600102", "")
    full = read_examined(_write(tmp_path / "b.dcm", **WHO))
    assert bare.patient != full.patient


@pytest.mark.parametrize(
    "values",
    [
        {"PatientBirthDate": None},
        {"PatientBirthDate": "19600230x"},
        {"PatientBirthDate": "1960"},
        {"PatientID": ""},
        {"PatientID": "P" * 64},
        {"IssuerOfPatientID": "I" * 70},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_header_that_names_no_certain_patient_has_none(
    tmp_path: Path, values: dict[str, str | None]
) -> None:
    assert read_examined(_write(tmp_path / "a.dcm", **WHO | values)).patient is None


def test_an_id_that_cannot_be_decoded_is_no_certain_patient(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.dcm", **WHO)
    file.write_bytes(file.read_bytes().replace(b"PID-7", b"PID-\xfc"))
    assert read_examined(file).patient is None
    assert read_examined(tmp_path / "none.dcm").patient is None
