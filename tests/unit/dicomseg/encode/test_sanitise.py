"""Character sets, odd values and absent attributes of the source, in the objects made from it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from dicomseg.encode.rehearsal import rehearse
from dicomseg.encode.sanitise import (
    ACQUISITION,
    EQUIPMENT,
    IDENTITY,
    PATIENT_EMPTY,
    STUDY_EMPTY,
    sanitised_headers,
)
from dicomseg.encode.uids import Identity
from tests.support.encoded import changed, errors_of, read, warnings_of

pytestmark = [
    pytest.mark.process,  # dciodvfy judges what is written
    pytest.mark.slow,  # half a second each, sixty of them
]
BY_US_AND_BY_HIGHDICOM = ("midplane.dcm", "measurements.dcm")
"""One of each kind is enough where only text differs."""


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
"""Attribute, its bytes, what every object holds."""


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


# ---- whatever the headers hold -------------------------------------------------------------------

PIECES = (
    b"", b" ", b"\\", b"=", b"^", b"\x1b$B;3ED\x1b(B", b"\x1b", b"\x00", b"\xff\xfe", b"nan", b"1e400", b"-1", b"20240131",
    b"1.2.0.03", b"\r\n", "é".encode(), "張".encode(), b"\xd5\xc5", b"ISO_IR 192", b"ISO 2022 IR 87", b"GBK", b"utf8",
    b"A" * 80, b"M", b"YES", b"01", b"+0100",
)  # fmt: skip
ANY = (*IDENTITY, *EQUIPMENT, *ACQUISITION, "SpecificCharacterSet", "RequestAttributesSequence")


SCRAMBLED = int(os.environ.get("SCRAMBLED_HEADERS", "30"))
"""How many; more manually."""


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


@pytest.mark.slow
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
