"""The comparison of two versions' results sees what it must see, and lets pass what may differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from tests.support.compare_results import INPUTS, compare_outputs, passed


def _write(out: Path) -> None:
    for number, name in enumerate(INPUTS):
        folder = out / name / f"{number:032x}"
        folder.mkdir(parents=True)
        ds, item = Dataset(), Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, f"2.25.{number + 10}"
        ds.StudyInstanceUID, ds.PatientID, ds.ContentTime = "2.25.7", "P1", "120000"
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", "Disc"
        item.ImagePositionPatient = [0.0, 1.5, 2.0]
        ds.SegmentSequence = [item]
        ds.BitsAllocated, ds.PixelData = 8, bytes(64)
        ds.save_as(folder / "seg.dcm", enforce_file_format=True)
        content = {
            "created": "2026",
            "value_mm": 1.5,
            "text": "cut",
            "code": "a",
            "sha256": "0" * 64,
        }
        content |= {"sop_instance": f"2.25.{number + 50}", "study": "2.25.7"}
        (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")


def _object(change: Callable[[Dataset], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        ds = dcmread(folder / "seg.dcm")
        change(ds)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / "seg.dcm")

    return apply


def _key(name: str, value: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "result.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))

    return apply


def _set(keyword: str, value: Any) -> Callable[[Path], None]:
    return _object(lambda ds: setattr(ds, keyword, value))


def _set_in_item(keyword: str, value: Any) -> Callable[[Path], None]:
    return _object(lambda ds: setattr(ds.SegmentSequence[0], keyword, value))


@pytest.mark.parametrize(
    ("change", "kind", "equal"),
    [
        (_set("PixelData", bytes(63) + b"\1"), "pixels", False),
        (_set("PatientID", "P2"), "value", False),
        (_set("PatientName", "A"), "attribute", False),
        (_set("StudyInstanceUID", "2.25.8"), "uid of the source", False),
        (_set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "uid of the source", False),
        (_set("SOPInstanceUID", "2.25.11"), "uid not one to one", False),
        (_set("SOPInstanceUID", "2.25.999"), "uid", True),
        (_set("ContentTime", "120001"), "time", True),
        (_set_in_item("ImagePositionPatient", [0.0, 1.5001, 2.0]), "value", False),
        (_set_in_item("CodeValue", "2"), "value", False),
        (_set_in_item("CodeMeaning", "Disk"), "text", True),
        (_key("value_mm", 1.50001), "value", False),
        (_key("code", "b"), "value", False),
        (_key("sop_instance", "2.25.999"), "uid", True),
        (_key("sop_instance", "2.25.51"), "uid not one to one", False),
        (_key("study", "2.25.8"), "uid of the source", False),
        (_key("extra", 1), "key", False),
        (_key("text", "is cut"), "text", True),
        (_key("created", "2027"), "time", True),
        (_key("sha256", "1" * 64), "digest", True),
    ],
)
def test_one_change_is_one_difference_of_its_kind(
    change: Callable[[Path], None], kind: str, equal: bool, tmp_path: Path
) -> None:
    for run in ("before", "after"):
        _write(tmp_path / run)
    assert compare_outputs(tmp_path / "before", tmp_path / "after").lines == []
    change(tmp_path / "after" / INPUTS[0] / f"{0:032x}")
    report = compare_outputs(tmp_path / "before", tmp_path / "after")
    kinds = {k for k, *_ in report.lines}
    assert {kind} <= kinds <= {kind, "uid"}
    assert passed(report) is equal


def test_an_absent_result_is_a_difference(tmp_path: Path) -> None:
    for run in ("before", "after"):
        _write(tmp_path / run)
    (tmp_path / "after" / "enhanced" / f"{3:032x}" / "result.json").unlink()
    assert not passed(compare_outputs(tmp_path / "before", tmp_path / "after"))


def test_without_any_result_nothing_is_equal(tmp_path: Path) -> None:
    assert not passed(compare_outputs(tmp_path, tmp_path))


def test_files_of_a_folder_inside_a_result_are_compared(tmp_path: Path) -> None:
    for run, content in (("before", b"solid"), ("after", b"other")):
        _write(tmp_path / run)
        surfaces = tmp_path / run / INPUTS[0] / f"{0:032x}" / "surfaces"
        surfaces.mkdir()
        (surfaces / "l4.stl").write_bytes(content)
    report = compare_outputs(tmp_path / "before", tmp_path / "after")
    assert [(kind, path.rsplit("/", 2)[-2:]) for kind, path, *_ in report.lines] == [
        ("file", ["surfaces", "l4.stl"])
    ]
