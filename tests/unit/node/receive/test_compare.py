from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.receive.compare import compare
from tests.support.syntaxes import in_syntax, store_object


@pytest.fixture
def ds(tmp_path: Path, write_series: Any) -> Dataset:
    (path,) = write_series(tmp_path / "in", slices=1)
    return dcmread(path)


def _compared(old: Path, ds: Dataset, syntax: str) -> str:
    new = old.with_name("new.dcm")
    new.write_bytes(b"".join(in_syntax(ds, syntax)))
    return compare(old, new).value


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_other_syntax_is_the_same_content(tmp_path: Path, ds: Dataset, syntax: str) -> None:
    ds.add_new(0x00280106, "US", 7)  # US or SS: implicit VR does not say
    ds.add_new(0x00190010, "LO", "PRIVATE")
    ds.add_new(0x00191001, "DS", "1.5")  # unknown in implicit VR
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = []
    item.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = [item]
    path = store_object(tmp_path, ds)
    assert _compared(path, ds, syntax) == "same"


def _other_pixel(ds: Dataset) -> None:
    ds.PixelData = b"\xff" + ds.PixelData[1:]


def _other_name(ds: Dataset) -> None:
    ds.PatientName = "Other^Name"


def _other_item(ds: Dataset) -> None:
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.4"


def _one_element_less(ds: Dataset) -> None:
    del ds.EchoTime


def _other_position(ds: Dataset) -> None:
    ds.ImagePositionPatient = [0, 0, 99]


def _other_window(ds: Dataset) -> None:
    ds.WindowCenter = 7


def _other_body_part(ds: Dataset) -> None:
    ds.BodyPartExamined = "SPINE"


def _other_polarity(ds: Dataset) -> None:
    ds.PhotometricInterpretation = "MONOCHROME1"


def _other_series(ds: Dataset) -> None:
    ds.SeriesInstanceUID = "1.2.77"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (_other_pixel, "other"),
        (_other_name, "corrected"),
        (_other_item, "corrected"),
        (_other_window, "corrected"),
        (_other_body_part, "corrected"),
        (_one_element_less, "other"),
        (_other_position, "other"),
        (_other_series, "other"),
    ],
)
@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless],
)
def test_what_differs_decides_between_a_correction_and_another_image(
    tmp_path: Path, ds: Dataset, change: Any, verdict: str, syntax: str
) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = [item]
    path = store_object(tmp_path, ds)
    change(ds)
    assert _compared(path, ds, syntax) == verdict


def test_polarity_in_the_same_syntax_is_another_image(tmp_path: Path, ds: Dataset) -> None:
    path = store_object(tmp_path, ds)
    _other_polarity(ds)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"


def test_same_elements_in_other_bytes_are_the_same(tmp_path: Path, ds: Dataset) -> None:
    path = store_object(tmp_path, ds)
    meta, data = in_syntax(ds, ExplicitVRLittleEndian)
    new = tmp_path / "new.dcm"
    new.write_bytes(meta + data + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4))
    assert compare(path, new).value == "same"


def test_reason_names_the_series_that_is_known(tmp_path: Path, ds: Dataset) -> None:
    path = store_object(tmp_path, ds)
    _other_series(ds)
    new = tmp_path / "new.dcm"
    new.write_bytes(b"".join(in_syntax(ds, ExplicitVRLittleEndian)))
    reason = compare(path, new).reason
    assert reason == "its SOP Instance UID is known from series 1.2.3 of study 1.2.1"


def test_what_cannot_be_compared_is_not_the_same(tmp_path: Path, ds: Dataset) -> None:
    assert _compared(tmp_path / "absent.dcm", ds, RLELossless) == "other"


def test_header_of_many_megabytes_is_not_read(
    tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    path = store_object(tmp_path, ds)
    _other_name(ds)
    monkeypatch.setattr("node.receive.compare.LARGEST_HEADER", 100)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"
