from __future__ import annotations

import csv
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from tests.support.paths import ROOT
from training.errors import ImportRefused, SecretError
from training.importing.deidentify import Secret, deidentify, read_or_create_secret

TABLE: Final = ROOT / "tests" / "support" / "data" / "ps3_15_table_e1_1_2024b.csv"
SECRET: Final = Secret(bytes(range(32)))
_DUMMY: Final = "DOE"
_VALUES: Final[dict[str, Any]] = {
    "AE": "DOE_AE",
    "AS": "047Y",
    "CS": "DOE",
    "DA": "19711224",
    "DS": "47.11",
    "DT": "19711224101112",
    "FD": 47.11,
    "FL": 47.5,
    "IS": "4711",
    "OB": b"DOE1",
    "OW": b"DOE1",
    "SL": 4711,
    "SS": 4711,
    "TM": "101112",
    "UI": "1.2.840.4711",
    "UL": 4711,
    "UN": b"DOE1",
    "UR": "http://doe.example",
    "US": 4711,
}


def rows() -> Iterator[tuple[str, str, str]]:
    with TABLE.open(encoding="utf-8") as opened:
        lines = [line for line in opened if not line.startswith("#")]
    for row in csv.DictReader(lines):
        yield row["tag"], row["name"], row["action"]


def plain() -> list[tuple[Any, str]]:
    """(tag, action) of every row that is one attribute of a data set known to pydicom."""
    out = []
    for text, _, action in rows():
        if text == "odd" or "X" in text:
            continue
        tag = Tag(int(text.replace(",", ""), 16))
        if tag.group > 2 and keyword_for_tag(tag):  # PS3.7 commands and file meta are not kept
            out.append((tag, action))
    return out


def element(tag: Any) -> DataElement:
    vr = dictionary_VR(tag).split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.ReferencedSOPInstanceUID = "Doe^Jane", "1.2.840.4711"
        return DataElement(tag, vr, Sequence([item]))
    return DataElement(tag, vr, _VALUES.get(vr, _DUMMY))


def image() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, "1.2.3.4"
    ds.PatientID, ds.PatientName = "4711", "Doe^Jane"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    return ds


def whole() -> Dataset:
    """Every attribute of the standard's list, and the list again inside a sequence it does not name."""
    ds = image()
    inner = Dataset()
    for tag, _ in plain():
        if tag not in ds:
            ds.add(element(tag))
        inner.add(element(tag))
    ds.PatientOrientation = ["L", "P"]
    ds.ReferencedSeriesSequence = [inner]
    return ds


def left_of(ds: Dataset) -> list[str]:
    """Attributes that still hold the value of their row, or do not do what the row's action says."""
    wrong = []
    for tag, action in plain():
        held = ds.get(tag)
        if held is None:
            continue
        before = element(tag)
        name = f"{tag} {keyword_for_tag(tag)}"
        if action == "X":
            wrong.append(f"{name}: not removed")
        elif before.VR == "SQ":
            if "Doe" in str(held) or "1.2.840.4711" in str(held):
                wrong.append(f"{name}: an item kept a value")
        elif held.value == before.value:
            wrong.append(f"{name}: kept its value")
        elif action in {"D", "U"} and not held.value and held.value != 0:
            wrong.append(f"{name}: is empty, but must hold a dummy")
    return wrong


def test_the_copy_of_the_standard_is_the_one_it_says() -> None:
    found = list(rows())
    assert len(found) == 621
    assert ("0010,0010", "Patient's Name", "Z") in found
    assert TABLE.read_text(encoding="utf-8").startswith("# DICOM PS3.15 Table E.1-1")
    assert len(plain()) > 580  # the rest: commands, file meta, repeating groups, newer attributes


def test_every_attribute_of_the_standards_list_is_dealt_with() -> None:
    kept = deidentify(whole(), SECRET)
    assert left_of(kept) == []
    assert len(left_of(whole())) > 560  # the check sees what is not dealt with


def test_nested_items_are_dealt_with_like_the_data_set() -> None:
    kept = deidentify(whole(), SECRET)
    assert left_of(kept.ReferencedSeriesSequence[0]) == []


def test_private_overlay_and_curve_data_are_gone() -> None:
    ds = image()
    ds.private_block(0x0029, "DOE", create=True).add_new(0x10, "LO", "Doe")
    item = Dataset()
    item.private_block(0x0019, "DOE", create=True).add_new(0x10, "LO", "Doe")
    ds.ReferencedSeriesSequence = [item]
    for group in (0x6000, 0x6002, 0x601E):
        ds.add_new((group, 0x3000), "OW", b"DOE1")
        ds.add_new((group, 0x4000), "LT", "Doe")
        ds.add_new((group, 0x0010), "US", 4)
    ds.add_new((0x5002, 0x3000), "OW", b"DOE1")
    kept = deidentify(ds, SECRET)
    assert not [e for e in kept.iterall() if e.tag.is_private]
    assert not [e.tag for e in kept if 0x5000 <= e.tag.group < 0x5100]
    assert {e.tag.element for e in kept if 0x6000 <= e.tag.group < 0x6100} == {0x0010}


def test_it_says_that_it_was_done_and_can_be_written(tmp_path: Path) -> None:
    given = image()
    kept = deidentify(given, SECRET)
    kept.save_as(tmp_path / "kept.dcm", enforce_file_format=True)
    read = dcmread(tmp_path / "kept.dcm")
    assert read.PatientIdentityRemoved == "YES"
    assert read.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert read.PatientID == read.PatientName == SECRET.pseudonym("4711")
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
    assert given.PatientName == "Doe^Jane"  # what was given is left alone


def test_uids_agree_between_objects_and_runs_and_not_between_projects() -> None:
    a, b = image(), image()
    b.SOPInstanceUID, b.FrameOfReferenceUID = "1.2.3.5", "1.2.9"
    a.FrameOfReferenceUID = "1.2.9"
    reference = Dataset()
    reference.ReferencedSOPClassUID = MRImageStorage
    reference.ReferencedSOPInstanceUID = "1.2.3.4"
    b.ReferencedImageSequence = [reference]
    first, second = (deidentify(ds, SECRET) for ds in (a, b))
    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.ReferencedImageSequence[0].ReferencedSOPClassUID == MRImageStorage
    assert second.FrameOfReferenceUID == first.FrameOfReferenceUID != "1.2.9"
    assert first.SOPInstanceUID.is_valid
    assert deidentify(a, Secret(bytes(32))).SOPInstanceUID != first.SOPInstanceUID


def test_burned_in_text_is_refused() -> None:
    ds = image()
    ds.BurnedInAnnotation = "YES"
    with pytest.raises(ImportRefused, match="burned-in"):
        deidentify(ds, SECRET)


def test_pseudonyms_depend_on_issuer_and_on_where_a_part_ends() -> None:
    assert SECRET.pseudonym("1", "A") != SECRET.pseudonym("1", "B")
    assert SECRET.pseudonym("12", "3") != SECRET.pseudonym("2", "31")
    assert SECRET.pseudonym("1") == SECRET.pseudonym("1")
    assert "4711" not in repr(Secret(b"4711"))


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "cases" / "pseudonym.key"
    first = read_or_create_secret(file)
    assert read_or_create_secret(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in sorted(file.parent.iterdir())] == [".gitignore", "pseudonym.key"]
    file.chmod(0o640)
    with pytest.raises(SecretError, match="chmod 600"):
        read_or_create_secret(file)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(SecretError, match="64 hexadecimal digits"):
        read_or_create_secret(file)
    assert read_or_create_secret(tmp_path / "other.key") != first
