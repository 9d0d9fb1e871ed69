from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomseg import headers
from node import content

UIDS = {"SOPInstanceUID": "1.2.3.1", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.3"}


@pytest.fixture
def ds(tmp_path: Path, write_series: Any) -> Dataset:
    (path,) = write_series(tmp_path / "in", slices=1)
    return dcmread(path)


def _in_syntax(ds: Dataset, syntax: str) -> tuple[bytes, bytes]:
    """File meta and data set of the object in another transfer syntax."""
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    dcmwrite(
        out,
        ds,
        implicit_vr=implicit,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    raw = out.getvalue()
    at = headers.split(raw)[0]
    return raw[:at], raw[at:]


SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_uids_are_found_in_every_syntax(ds: Dataset, syntax: str) -> None:
    if syntax == ExplicitVRBigEndian:
        del ds.PixelData
    told = content.identifiers(BytesIO(_in_syntax(ds, syntax)[1]), syntax)
    assert {k: v for k, v in told.items() if k != "SOPClassUID"} == UIDS
    assert content.why_unusable(told, "1.2.3.1") == ""


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x08\x00\x18\x00UI\xff\xff", b"GET / HTTP/1.1\r\n" * 9, bytes(999)]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_hostile_bytes_are_unusable_and_nothing_worse(data: bytes, syntax: str) -> None:
    told = content.identifiers(BytesIO(data), syntax)
    assert "no valid SOPInstanceUID" in content.why_unusable(told, "1.2.3.1")


@pytest.mark.parametrize("keyword", list(UIDS))
@pytest.mark.parametrize(
    "value", ["", "../../etc/passwd", "1" * 65, ".1", "1.", "1.2 3", ["1.2", "1.3"]]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
def test_uid_that_is_none_is_named(ds: Dataset, keyword: str, value: Any) -> None:
    setattr(ds, keyword, value)
    told = content.identifiers(
        BytesIO(_in_syntax(ds, ExplicitVRLittleEndian)[1]), ExplicitVRLittleEndian
    )
    assert f"no valid {keyword}" in content.why_unusable(told, "1.2.3.1")


def test_other_uid_than_the_request_said_is_unusable() -> None:
    assert "not the one of the C-STORE" in content.why_unusable(dict(UIDS), "1.2.3.99")


def _stored(tmp_path: Path, ds: Dataset) -> Path:
    path = tmp_path / "stored.dcm"
    path.write_bytes(b"".join(_in_syntax(ds, ExplicitVRLittleEndian)))
    return path


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
    path = _stored(tmp_path, ds)
    meta, data = _in_syntax(ds, syntax)
    assert content.same_content(path, meta, data)


def _other_pixel(ds: Dataset) -> None:
    ds.PixelData = b"\xff" + ds.PixelData[1:]


def _other_name(ds: Dataset) -> None:
    ds.PatientName = "Other^Name"


def _other_item(ds: Dataset) -> None:
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.4"


def _one_element_less(ds: Dataset) -> None:
    del ds.EchoTime


@pytest.mark.parametrize("change", [_other_pixel, _other_name, _other_item, _one_element_less])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_other_content_in_another_syntax_is_told(
    tmp_path: Path, ds: Dataset, change: Any, syntax: str
) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = [item]
    path = _stored(tmp_path, ds)
    change(ds)
    meta, data = _in_syntax(ds, syntax)
    assert not content.same_content(path, meta, data)


def test_what_cannot_be_compared_is_not_the_same(tmp_path: Path, ds: Dataset) -> None:
    meta, data = _in_syntax(ds, RLELossless)
    assert not content.same_content(tmp_path / "absent.dcm", meta, data)
