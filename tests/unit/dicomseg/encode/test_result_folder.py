"""Objects of a small segmentation from headers of every oddity: valid, and all of the same patient."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from pydicom.valuerep import PersonName

from dicomseg.encode import measurements_sr, midplane_image
from dicomseg.encode.context import EncodeInput
from dicomseg.encode.gather import build_result
from dicomseg.encode.rehearsal import HeadersRefused, rehearse
from dicomseg.encode.sanitise import (
    ACQUISITION,
    EQUIPMENT,
    IDENTITY,
    PATIENT_EMPTY,
    STUDY_EMPTY,
    headers_from,
    sanitised_headers,
)
from dicomseg.encode.uids import Identity, make_uid
from dicomseg.result import Measurement, Refusal

Change = Callable[[Dataset], None]
FILES = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")
BY_US_AND_BY_HIGHDICOM = ("midplane.dcm", "measurements.dcm")
"""One of each kind is enough where only text differs."""


def read(files: dict[str, bytes]) -> dict[str, Dataset]:
    return {n: pydicom.dcmread(BytesIO(b)) for n, b in files.items() if n.endswith(".dcm")}


def warnings_of(files: dict[str, bytes]) -> dict[str, str]:
    return {w["code"]: w["text"] for w in json.loads(files["result.json"])["warnings"]}


def errors_of(files: dict[str, bytes], folder: Path, names: Sequence[str] = FILES) -> list[str]:
    """What dciodvfy calls an error in any of the objects, and dcentvfy between them."""
    if shutil.which("dciodvfy") is None:
        return []
    paths = []
    for name in names:
        paths.append(folder / name)
        paths[-1].write_bytes(files[name])
    errors = []
    for command in [["dciodvfy", str(p)] for p in paths] + [["dcentvfy", *map(str, paths)]]:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, errors="replace"
        )
        name = Path(command[-1]).name
        errors += [
            f"{name}: {line}"
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith("Error") or "present in one instance but not the other" in line
        ]
    return errors


def changed(studio: Any, change: Change) -> list[Dataset]:
    datasets = studio.slices()
    for ds in datasets:
        change(ds)
    return list(datasets)


# ---- character sets ------------------------------------------------------------------------------

JAPANESE = "Yamada^Tarou=山田^十郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"

LEGAL: dict[str, tuple[bytes, str, str]] = {
    "latin 1": (b"ISO_IR 100", "latin_1", "Müller^Jörg"),
    "latin 2": (b"ISO_IR 101", "iso8859_2", "Wałęsa^Żaneta"),
    "cyrillic": (b"ISO_IR 144", "iso8859_5", "Люкceмбypг"),
    "greek": (b"ISO_IR 126", "iso8859_7", "Διονυσιος"),
    "arabic": (b"ISO_IR 127", "iso8859_6", "قباني^لنزار"),
    "hebrew": (b"ISO_IR 138", "iso8859_8", "שרון^דבורה"),
    "turkish": (b"ISO_IR 148", "iso8859_9", "Çavuşoğlu^İlknur"),
    "thai": (b"ISO_IR 166", "iso8859_11", "นามสกุล^ชื่อ"),
    "unicode": (b"ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小东="),
    "gb18030": (b"GB18030", "gb18030", "Wang^XiaoDong=王^小东="),
    "gbk": (b"GBK", "gbk", "Wang^XiaoDong=王^小东="),
    "japanese": (b"\\ISO 2022 IR 87", "", JAPANESE),
    "japanese, named": (b"ISO 2022 IR 6\\ISO 2022 IR 87", "", JAPANESE),
    "japanese, two": (b"\\ISO 2022 IR 87\\ISO 2022 IR 159", "", JAPANESE),
    "katakana and kanji": (b"ISO 2022 IR 13\\ISO 2022 IR 87", "", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "korean": (b"\\ISO 2022 IR 149", "", KOREAN),
    "chinese": (b"\\ISO 2022 IR 58", "", "Zhang^XiaoDong=张^小东="),
}  # fmt: skip
"""Declared, Python's encoding ("" where pydicom writes it), the name."""


def _bytes_of_name(declared: bytes, encoding: str, name: str) -> bytes:
    if encoding:
        return name.encode(encoding)
    if declared.endswith(b"IR 58"):  # pydicom leaves out its escape sequences
        return b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    terms = declared.decode().split("\\")
    codecs = pydicom.charset.convert_encodings(terms)
    return PersonName(name).encode(codecs)


@pytest.mark.parametrize("case", LEGAL)
def test_a_legal_character_set_keeps_the_bytes_of_the_name(
    studio: Any, put_raw: Any, tmp_path: Path, case: str
) -> None:
    declared, encoding, name = LEGAL[case]
    value = _bytes_of_name(declared, encoding, name)

    def change(ds: Dataset) -> None:
        put_raw(ds, "SpecificCharacterSet", declared)
        put_raw(ds, "PatientName", value)
        put_raw(ds, "ReferringPhysicianName", value)
        put_raw(ds, "InstitutionName", value)

    files = studio.encode(changed(studio, change), refused=["OC"])
    for file, ds in read(files).items():
        stored = ds.get_item("PatientName").value
        assert stored.strip() == value.strip(), file
        if not declared.endswith(b"IR 58"):  # pydicom leaves their escape sequences in the text
            assert str(ds.PatientName) == name.rstrip("="), file
    assert "+/-1 mm2" in str(read(files)["measurements.dcm"])
    assert errors_of(files, tmp_path, BY_US_AND_BY_HIGHDICOM) == []
    assert "header_cleaned" not in warnings_of(files)


SEPARATORS_IN_LETTERS: dict[str, tuple[bytes, str, str]] = {
    "Abe": (b"\\ISO 2022 IR 87", "iso2022_jp", "Abe^Shinzo=安倍^晋三"),
    "carets in kana": (b"\\ISO 2022 IR 87", "iso2022_jp", "Mama^M=ままままま^ま"),
    "backslashes in gb18030": (b"GB18030", "gb18030", "Wang^X=王^小東俓"),
    "carets in gb18030": (b"GB18030", "gb18030", "Wang^X=乛俕僞刕區哵"),
}
"""Declared, Python's encoding, a name whose letters hold the bytes of a backslash or many carets."""


@pytest.mark.parametrize("case", SEPARATORS_IN_LETTERS)
def test_letters_that_hold_a_separator_are_written_in_unicode(
    studio: Any, put_raw: Any, tmp_path: Path, case: str
) -> None:
    declared, encoding, name = SEPARATORS_IN_LETTERS[case]
    value = b"^".join(
        b"=".join(part.encode(encoding) for part in group.split("=")) for group in name.split("^")
    )

    def change(ds: Dataset) -> None:
        put_raw(ds, "SpecificCharacterSet", declared)
        put_raw(ds, "PatientName", value)
        put_raw(ds, "StudyDescription", value.split(b"=")[1])

    files = studio.encode(changed(studio, change), refused=["OC"])
    for file, ds in read(files).items():
        assert ds.SpecificCharacterSet == "ISO_IR 192", file
        assert str(ds.PatientName) == name, file
        assert ds.StudyDescription == name.split("=")[1], file
    assert errors_of(files, tmp_path, BY_US_AND_BY_HIGHDICOM) == []
    assert "header_cleaned" not in warnings_of(files)


ODD: dict[str, tuple[bytes, bytes, str]] = {
    "empty": (b"", b"Smith^J", "Smith^J"),
    "underscore": (b"ISO_2022_IR_6", b"Smith^J", "Smith^J"),
    "not supplied": (b"Not Supplied", b"Smith^J", "Smith^J"),
    "default, named": (b"ISO_IR 6", b"Smith^J", "Smith^J"),
    "lower case": (b"iso_ir 100", b"M\xfcller^J", "Müller^J"),
    "hyphen": (b"ISO-IR 100", b"M\xfcller^J", "Müller^J"),
    "doubled": (b"ISO_IR 100\\ISO_IR 100", b"M\xfcller^J", "Müller^J"),
    "undeclared latin": (b"", b"M\xfcller^J", "Müller^J"),
    "undeclared utf-8": (b"", "Müller^J".encode(), "Müller^J"),
    "latin 1 under utf-8": (b"ISO_IR 192", b"M\xfcller^J", "Müller^J"),
    "UTF-8": (b"UTF-8", "張^偉".encode(), "張^偉"),
    "utf8": (b"utf8", "張^偉".encode(), "張^偉"),
    "utf8 beside others": (b"ISO_IR 192\\ISO 2022 IR 87", "張^偉".encode(), "張^偉"),
    "mixed": (b"ISO_IR 100\\ISO 2022 IR 87", b"A^\x1b$B;3ED\x1b(B", "A^山田"),
    "first of many bytes": (b"ISO 2022 IR 87", b"A=\x1b$B;3ED\x1b(B", "A=山田"),
    "escapes undeclared": (b"ISO_IR 100", b"A=\x1b$B;3ED\x1b(B", "A=山田"),
    "latin 9": (b"ISO_IR 203", "Œuvre^J".encode("iso8859_15"), "Œuvre^J"),
    "windows": (b"windows-1251", "Иванов^И".encode("cp1251"), "Иванов^И"),
    "korean, not escaped": (b"\\ISO 2022 IR 149", "홍^길동".encode("euc_kr"), "홍^길동"),
    "korean, escaped once": (b"\\ISO 2022 IR 149", b"\x1b$)C" + "홍^길동".encode("euc_kr"), "홍^길동"),
    "chinese, not escaped": (b"\\ISO 2022 IR 58", "张^小东".encode("gb2312"), "张^小东"),
    "latin 1 under korean": (b"\\ISO 2022 IR 149", b"M\xfcller^J", "Müller^J"),
    "katakana": (b"ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ﾔﾏﾀﾞ^ﾀﾛｳ"),  # dciodvfy does not know it
    "unknown": (b"KLINGON 1", b"Smith^J", "Smith^J"),
    "gbk under latin 1": (b"ISO_IR 100", "张^伟".encode("gb18030"), "张^伟".encode("gb18030").decode("latin_1")),
}  # fmt: skip
"""Declared, bytes of the name, what they say."""


@pytest.mark.parametrize("case", ODD)
def test_an_odd_character_set_leaves_the_name_readable(
    studio: Any, put_raw: Any, tmp_path: Path, case: str
) -> None:
    declared, value, name = ODD[case]

    def change(ds: Dataset) -> None:
        put_raw(ds, "SpecificCharacterSet", declared)
        put_raw(ds, "PatientName", value)

    files = studio.encode(changed(studio, change), refused=["PI"])
    for file, ds in read(files).items():
        assert str(ds.PatientName) == name, file
        assert ds.SpecificCharacterSet, file
    assert errors_of(files, tmp_path, BY_US_AND_BY_HIGHDICOM) == []


def test_our_own_text_that_is_not_ascii_makes_the_objects_unicode(
    studio: Any, put_raw: Any, tmp_path: Path
) -> None:
    def change(ds: Dataset) -> None:
        put_raw(ds, "SpecificCharacterSet", b"ISO_IR 144")
        put_raw(ds, "PatientName", "Люкceмбypг".encode("iso8859_5"))

    identity = Identity("Müller AG", "n", "1", "1", "Größe")
    files = studio.encode(changed(studio, change), identity=identity)
    for ds in read(files).values():
        assert (ds.PatientName, ds.Manufacturer, ds.StationName) == (
            "Люкceмбypг",
            "Müller AG",
            "Größe",
        )
    assert errors_of(files, tmp_path) == []


# ---- values --------------------------------------------------------------------------------------

VALUES: dict[str, tuple[str, bytes, str]] = {
    "birth by year": ("PatientBirthDate", b"19500000", ""),
    "birth year alone": ("PatientBirthDate", b"1950", ""),
    "birth with hyphens": ("PatientBirthDate", b"1950-01-02", "19500102"),
    "birth of the American kind": ("PatientBirthDate", b"01/02/1950", ""),
    "thirteenth month": ("StudyDate", b"20241301", ""),
    "29 February": ("StudyDate", b"20230229", ""),
    "range of dates": ("StudyDate", b"20230101-20230201", ""),
    "old date": ("StudyDate", b"2024.01.31", "20240131"),
    "no such time": ("StudyTime", b"256099", ""),
    "time with colons": ("StudyTime", b"12:34:56.5", "123456.5"),
    "long fraction": ("StudyTime", b"123456.123456789", "123456.123456"),
    "half a time": ("StudyTime", b"1", ""),
    "age without zeros": ("PatientAge", b"56Y", "056Y"),
    "age without unit": ("PatientAge", b"56", ""),
    "sex in words": ("PatientSex", b"female", ""),
    "sex in lower case": ("PatientSex", b"f", "F"),
    "sex twice": ("PatientSex", b"F\\F", "F"),
    "two names": ("PatientName", b"Doe^J\\Roe^J", "Doe^J"),
    "name with tabs": ("PatientName", b"Doe\t^J\r\n", "Doe^J"),
    "long name": ("PatientName", b"D" * 80 + b"^J", "D" * 64),
    "seven components": ("PatientName", b"A^B^C^D^E^F^G", "A^B^C^D^E F G"),
    "five groups": ("PatientName", b"A=B=C=D=E", "A=B=C"),
    "long identifier": ("PatientID", b"1" * 70, ""),
    "two identifiers": ("PatientID", b"1\\2", ""),
    "long accession number": ("AccessionNumber", b"A2345678901234567", ""),
    "accession number with a newline": ("AccessionNumber", b"A23\n", "A23"),
    "long description": ("StudyDescription", b"d" * 90, "d" * 64),
    "description with a backslash": ("StudyDescription", b"LWS\\BWS", "LWS BWS"),
    "weight is no number": ("PatientWeight", b"nan", ""),
    "weight with a comma": ("PatientWeight", b"70,5", ""),
    "weight too long": ("PatientWeight", b"70.12345678901234567", "70.1234568"),
    "size in words": ("PatientSize", b"tall", ""),
    "zone of nowhere": ("TimezoneOffsetFromUTC", b"+2500", ""),
    "zone by name": ("TimezoneOffsetFromUTC", b"CET", ""),
    "identity removed by whom": ("PatientIdentityRemoved", b"YES", "YES"),
    "identity perhaps removed": ("PatientIdentityRemoved", b"PARTLY", ""),
    "trial without a sponsor": ("ClinicalTrialSubjectID", b"17", ""),
    "smoker": ("SmokingStatus", b"20 A DAY", ""),
    "pregnant": ("PregnancyStatus", b"\x63\x00", ""),
}  # fmt: skip
"""Attribute, its bytes, what stands in every object."""


def rounds(cases: dict[str, tuple[Any, ...]]) -> list[list[str]]:
    """Cases that can be put into one header together: no attribute twice."""
    out: list[list[str]] = []
    for name, (keyword, *_) in cases.items():
        free = (held for held in out if keyword not in {cases[n][0] for n in held})
        held = next(free, None)
        if held is None:
            out.append([name])
        else:
            held.append(name)
    return out


@pytest.mark.parametrize("names", rounds(VALUES), ids=lambda n: f"{len(n)} values")
def test_values_that_break_their_rule_are_put_right_or_left_out(
    studio: Any, put_raw: Any, tmp_path: Path, names: list[str]
) -> None:
    def change(ds: Dataset) -> None:
        for name in names:
            put_raw(ds, *VALUES[name][:2])

    files = studio.encode(changed(studio, change))
    warning = warnings_of(files)["header_cleaned"]
    for name in names:
        keyword, value, right = VALUES[name]
        for file, ds in read(files).items():
            assert str(ds.get(keyword) or "") == right, (name, file)
        assert keyword in warning or keyword in UNNAMED, name
        if len(value) > 4 and right != value.decode():
            assert value.decode() not in files["result.json"].decode(), name
    assert errors_of(files, tmp_path) == []


UNNAMED = {"PatientIdentityRemoved", "ClinicalTrialSubjectID"}
"""Legal values that are completed or left out because another attribute is absent."""

ACQUIRED: dict[str, tuple[str, bytes]] = {
    "echo time": ("EchoTime", b"nan"),
    "echo time too long": ("EchoTime", b"119.00000000000001"),
    "field in words": ("MagneticFieldStrength", b"3 T"),
    "train": ("EchoTrainLength", b"60.5"),
    "echo number": ("EchoNumbers", b"first"),
    "sequence": ("ScanningSequence", b"TSE"),
    "variant": ("SequenceVariant", b"SK\\FOO"),
    "options": ("ScanOptions", b"FAST_GEMS\\EDR_GEMS\\lower"),
    "acquisition": ("MRAcquisitionType", b"3DVOL"),
    "position": ("PatientPosition", b"SUPINE"),
    "thickness": ("SliceThickness", b"0.9 mm"),
    "no thickness": ("SliceThickness", b""),
    "inversion without": ("ScanningSequence", b"SE\\IR"),
    "inversion time": ("InversionTime", b"180"),
    "nucleus": ("ImagedNucleus", b"hydrogen of protons and more"),
    "frequency": ("ImagingFrequency", b"123.2;1"),
    "lossy": ("LossyImageCompression", b"01"),
    "lossy in words": ("LossyImageCompression", b"JPEG"),
    "maker": ("Manufacturer", b"M" * 90),
    "institution": ("InstitutionName", b"I\\J"),
    "serial": ("DeviceSerialNumber", b"1" * 90),
    "position reference": ("PositionReferenceIndicator", b"P" * 90),
}


@pytest.mark.parametrize("names", rounds(ACQUIRED), ids=lambda n: f"{len(n)} values")
def test_odd_acquisition_attributes_leave_valid_objects(
    studio: Any, put_raw: Any, tmp_path: Path, names: list[str]
) -> None:
    def change(ds: Dataset) -> None:
        for name in names:
            put_raw(ds, *ACQUIRED[name])

    files = studio.encode(changed(studio, change))
    assert errors_of(files, tmp_path) == []


ABSENT = (*STUDY_EMPTY, *PATIENT_EMPTY, "SliceThickness", "ScanningSequence", "Manufacturer", "EchoTime", "SequenceVariant")  # fmt: skip


@pytest.mark.parametrize("absent", ["PatientID", "PatientName", "PatientBirthDate"])
def test_what_the_first_slice_lacks_of_the_patient_another_gives(studio: Any, absent: str) -> None:
    datasets = studio.slices()
    for ds in datasets:
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = "7", "Doe^Jane", "19500101"
    setattr(datasets[0], absent, "")
    headers = sanitised_headers(studio.source(datasets))
    assert headers.patient_id == "7"
    assert str(headers.identity[absent].value) in {"7", "Doe^Jane", "19500101"}


def test_absent_attributes_are_empty_ones(studio: Any, tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        for keyword in ABSENT:
            if keyword in ds:
                delattr(ds, keyword)

    files = studio.encode(changed(studio, change), refused=["OC", "PI", "DAA", "DIVC"])
    assert errors_of(files, tmp_path) == []
    for ds in read(files).values():
        assert all(
            keyword in ds and not ds[keyword].value for keyword in (*PATIENT_EMPTY, *STUDY_EMPTY)
        )
    seg = read(files)["seg.dcm"]
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(studio.found.sides.spacing_mm[0])


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


def test_incomplete_items_of_sequences_are_left_out(studio: Any, tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        half, code, nested = Dataset(), Dataset(), Dataset()
        half.UniversalEntityID = "1.2.3"
        code.CodeValue, code.CodeMeaning = "X", "no scheme"
        nested.add_new(0x00091001, "LO", "private")
        ds.IssuerOfPatientIDQualifiersSequence = [half]
        ds.ProcedureCodeSequence, ds.RequestAttributesSequence = [code], [nested]

    files = studio.encode(changed(studio, change))
    assert errors_of(files, tmp_path) == []
    assert "ProcedureCodeSequence" in warnings_of(files)["header_cleaned"]
    for ds in read(files).values():
        assert "ProcedureCodeSequence" not in ds
        assert "IssuerOfPatientIDQualifiersSequence" not in ds


def test_equal_runs_give_equal_bytes(studio: Any) -> None:
    source = changed(studio, rich)
    assert studio.encode(source) == studio.encode(source)


# ---- geometry ------------------------------------------------------------------------------------


def labels_of(files: dict[str, bytes], studio: Any) -> np.ndarray:
    """Segment numbers on the grid of the segmentation, read back by highdicom."""
    seg = hd.seg.segread(BytesIO(files["seg.dcm"]))
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    sides = studio.found.sides
    out = np.zeros(sides.shape, np.uint8)
    index = np.argwhere(volume.array > 0)
    lps = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    at = np.round(sides.to_index(lps)).astype(int)
    assert np.abs(sides.to_index(lps) - at).max() < 0.01
    out[tuple(at.T)] = volume.array[tuple(index.T)]
    return out


def enhanced(slices: list[Dataset], *, shared: bool) -> Dataset:
    """One multi-frame object, frames from the head down; its groups shared or in every frame."""
    ds = copy.deepcopy(slices[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.NumberOfFrames = len(slices)
    frames, common = [], Dataset()
    for one in reversed(slices):
        frame, position, plane, measures = (Dataset() for _ in range(4))
        position.ImagePositionPatient = one.ImagePositionPatient
        plane.ImageOrientationPatient = one.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        holder = common if shared else frame
        holder.PlaneOrientationSequence, holder.PixelMeasuresSequence = [plane], [measures]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [common], frames
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
    ):
        del ds[keyword]
    return ds


FORMS: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "classic": list,
    "shared": lambda slices: [enhanced(slices, shared=True)],
    "per frame": lambda slices: [enhanced(slices, shared=False)],
    "a file per frame": lambda slices: [enhanced([one], shared=False) for one in slices],
}


@pytest.mark.parametrize("form", FORMS)
def test_segments_lie_on_the_source_and_name_its_images(
    studio: Any, tmp_path: Path, form: str
) -> None:
    slices = studio.slices()
    whole = FORMS[form](slices)
    files = studio.encode(whole)
    assert errors_of(files, tmp_path) == []
    assert np.array_equal(labels_of(files, studio), studio.found.sides.array)
    seg = read(files)["seg.dcm"]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert item.ReferencedSOPClassUID == whole[0].SOPClassUID
        if len(whole) == 1:
            n = len(slices) - item.ReferencedFrameNumber
        else:
            n = int(item.ReferencedSOPInstanceUID.rsplit(".", 1)[-1]) - 1
        assert np.allclose(position, np.array(slices[n].ImagePositionPatient, float), atol=1e-4)
    referenced = [i.ReferencedSOPInstanceUID for i in seg.SourceImageSequence]
    assert set(referenced) == {str(ds.SOPInstanceUID) for ds in whole}


@pytest.mark.parametrize(
    ("rows", "columns", "form"),
    [(72, 101, "BINARY"), (70, 100, "BINARY"), (71, 101, "FRACTIONAL"), (70, 99, "FRACTIONAL")],
)
def test_frames_end_at_whole_bytes(
    studio: Any, tmp_path: Path, rows: int, columns: int, form: str
) -> None:
    small = studio.cropped(rows, columns)
    files = small.encode(small.slices())
    seg = read(files)["seg.dcm"]
    assert (seg.SegmentationType, seg.Rows, seg.Columns) == (form, rows, columns)
    assert seg.Rows * seg.Columns * seg.BitsAllocated % 8 == 0
    assert seg.SOPClassUID == SegmentationStorage
    assert np.array_equal(labels_of(files, small), small.found.sides.array)
    assert errors_of(files, tmp_path) == []
    assert len(np.unique(small.found.sides.array)) == 3
    assert _voxels_by_dcmqi(files, tmp_path) == {
        n: int((small.found.sides.array == n).sum()) for n in range(1, 11)
    }


def _voxels_by_dcmqi(files: dict[str, bytes], folder: Path) -> dict[int, int]:
    """How many voxels dcmqi reads of every segment."""
    sitk = pytest.importorskip("SimpleITK")
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("needs dcmqi")
    (folder / "seg.dcm").write_bytes(files["seg.dcm"])
    command = [
        program,
        "--inputDICOM",
        folder / "seg.dcm",
        "--outputDirectory",
        folder,
        "--outputType",
        "nrrd",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    read_back = {
        int(p.stem): sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in folder.glob("*.nrrd")
    }
    return {n: int(np.count_nonzero(array)) for n, array in read_back.items()}


def test_a_slightly_sheared_stack_is_encoded(studio: Any, tmp_path: Path) -> None:
    """A drift that `assemble` allows as rounding, at which highdicom's volume refuses."""
    grid = studio.found.sides
    drift = 0.04 * grid.spacing_mm[1]
    sheared = studio.sheared(drift)
    files = sheared.encode(sheared.slices())
    assert errors_of(files, tmp_path) == []
    seg = read(files)["seg.dcm"]
    stored = {
        tuple(f.PlanePositionSequence[0].ImagePositionPatient)
        for f in seg.PerFrameFunctionalGroupsSequence
    }
    source = {tuple(ds.ImagePositionPatient) for ds in sheared.slices()}
    gap = [min(np.abs(np.subtract(a, b)).max() for b in source) for a in stored]
    assert max(gap) < 1e-3


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


# ---- refused values ------------------------------------------------------------------------------

FOUR = ("OC", "DAA", "DIVC", "PI")


@pytest.mark.parametrize("slope", [0.0002, 0.01, 1.0, 3.0])
def test_the_picture_keeps_its_greys_whatever_the_slope(studio: Any, slope: float) -> None:
    plan = studio.plan(studio.slices())
    volume = plan.source.volume
    scaled = volume.with_array(volume.array.astype(np.float32) * np.float32(slope))
    source = replace(plan.source, volume=scaled)
    measured = studio.measured
    result = build_result(source, plan.headers, studio.found, measured, plan.key, plan.created, {})
    run = EncodeInput(
        result, source, studio.found, plan.key, plan.headers, plan.identity, plan.created
    )
    ds = midplane_image.encode(run)
    assert len(np.unique(np.frombuffer(ds.PixelData, np.uint16))) > 400
    assert float(ds.WindowWidth) > 300


def groups_of(report: Dataset) -> list[dict[str, Any]]:
    """Every measurement group of a report: what its items say, by concept."""
    found = []
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            held: dict[str, list[Dataset]] = {}
            for item in group.get("ContentSequence", []):
                held.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item)
            if "Tracking Identifier" in held:
                found.append(held)
    return found


@pytest.mark.parametrize("refused", [(), ("OC",), ("PI",), ("DAA", "DIVC"), FOUR], ids="+".join)
def test_a_refused_value_is_a_point_with_its_reason(
    studio: Any, tmp_path: Path, refused: tuple[str, ...]
) -> None:
    files = studio.encode(studio.slices(), refused=refused)
    objects = read(files)
    report, image = objects["measurements.dcm"], objects["midplane.dcm"]
    groups = groups_of(report)
    assert len(groups) == 4
    points = []
    for held in groups:
        name = held["Tracking Identifier"][0].TextValue.rsplit(":", 1)[-1]
        tool, comments = (
            held["Tracking Identifier"][0].TextValue,
            [c.TextValue for c in held["Comment"]],
        )
        numbers = [i for items in held.values() for i in items if i.ValueType == "NUM"]
        assert (
            tool
            == f"Cornerstone3DTools@^0.1.0:{'ArrowAnnotate' if name in refused else 'Length'}:{name}"
        )
        if name not in refused:
            assert comments[0] == name
            assert "POLYLINE" in [i.get("GraphicType") for i in numbers[0].ContentSequence]
            continue
        assert numbers == []
        assert comments[0] == f"{name} not measured: cut +/-1 mm2"
        assert comments[-1] == "cut +/-1 mm2"
        (point,) = held["Image Region"]
        assert (point.ValueType, point.GraphicType) == ("SCOORD", "POINT")
        column, row = point.GraphicData
        assert 0 < column < image.Columns
        assert 0 < row < image.Rows
        (selected,) = point.ContentSequence
        assert selected.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        points.append((column, row))
    assert len(set(points)) == len(refused)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [s.SeriesInstanceUID for s in evidence] == [image.SeriesInstanceUID]
    comments = [c.TextValue for held in groups_of(objects["volumes.dcm"]) for c in held["Comment"]]
    assert [t for t in comments if "not measured" in t] == [
        f"{n} not measured: cut +/-1 mm2" for n in FOUR if n in refused
    ]
    assert hd.sr.srread(BytesIO(files["measurements.dcm"])).content.get_image_measurement_groups()
    assert errors_of(files, tmp_path) == []


def test_a_long_reason_is_short_on_the_picture(studio: Any) -> None:
    text = "the psoas is truncated at the image border within 1 mm of the end point of the line; enlarge the field"
    m = Measurement("OC", "", refusal=Refusal("cut_by_image", text))
    assert measurements_sr.reason(m) == "OC not measured: cut by image"
    assert len(measurements_sr.reason(m)) <= 60


def test_a_range_is_two_numbers(studio: Any) -> None:
    ranged = replace(studio.measured.main["DAA"], uncertainty_mm=None, range_mm=(10.0, 14.5))
    measured = replace(studio.measured, main={**studio.measured.main, "DAA": ranged})
    files = replace(studio, measured=measured).encode(studio.slices())
    (held,) = [
        g
        for g in groups_of(read(files)["measurements.dcm"])
        if g["Tracking Identifier"][0].TextValue.endswith("DAA")
    ]
    ends = [
        float(held[n][0].MeasuredValueSequence[0].NumericValue)
        for n in ("Minimum value near the plane", "Maximum value near the plane")
    ]
    assert ends == [10.0, 14.5]


# ---- whatever the headers hold -------------------------------------------------------------------

PIECES = (
    b"", b" ", b"\\", b"=", b"^", b"\x1b$B;3ED\x1b(B", b"\x1b", b"\x00", b"\xff\xfe", b"nan", b"1e400", b"-1", b"20240131",
    b"1.2.0.03", b"\r\n", "é".encode(), "張".encode(), b"\xd5\xc5", b"ISO_IR 192", b"ISO 2022 IR 87", b"GBK", b"utf8",
    b"A" * 80, b"M", b"YES", b"01", b"+0100",
)  # fmt: skip
ANY = (*IDENTITY, *EQUIPMENT, *ACQUISITION, "SpecificCharacterSet", "RequestAttributesSequence")


SCRAMBLED = int(os.environ.get("SCRAMBLED_HEADERS", "30"))
"""How many; more by hand."""


def _scrambled(ds: Dataset, seed: int, put_raw: Any) -> None:
    """Random bytes in a third of the attributes that results take, in items of sequences too."""
    draw = random.Random(seed)
    for keyword in ANY:
        vr = dictionary_VR(keyword).split()[0]
        if draw.random() > 0.33:
            continue
        if vr == "SQ":
            item = Dataset()
            for inner in (
                "PatientID",
                "UniversalEntityID",
                "CodeValue",
                "CodeMeaning",
                "AccessionNumber",
            ):
                put_raw(item, inner, b"".join(draw.choices(PIECES, k=2)))
            ds[keyword] = DataElement(Tag(keyword), "SQ", [item, Dataset()])
            continue
        put_raw(ds, keyword, b"".join(draw.choices(PIECES, k=draw.randint(0, 3))))


@pytest.mark.parametrize("first", range(0, SCRAMBLED, 10))
def test_no_header_whatsoever_stops_an_encoder(studio: Any, put_raw: Any, first: int) -> None:
    for seed in range(first, first + 10):
        slices = studio.slices()[:2]
        for ds in slices:
            _scrambled(ds, seed, put_raw)
        plan = studio.plan(slices)
        rehearse(plan)
        findings = " ".join(f.text for f in plan.headers.findings)
        assert findings.isascii(), seed


def test_empty_attributes_are_no_faults(studio: Any, put_raw: Any) -> None:
    def change(ds: Dataset) -> None:
        empty = Dataset()
        empty.RequestedProcedureID = empty.ScheduledProcedureStepID = ""
        ds.RequestAttributesSequence = [empty]
        ds.ProcedureCodeSequence = []
        for keyword in (
            "PregnancyStatus",
            "PatientWeight",
            "PatientBirthDate",
            "PatientAge",
            "EthnicGroup",
        ):
            put_raw(ds, keyword, b"")

    assert warnings_of(studio.encode(changed(studio, change))) == {}


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
