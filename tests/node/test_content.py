from __future__ import annotations

import struct
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
from node import content, structure
from node.pixel_compare import PixelCompare, same_pixels

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


def _told(data: bytes, syntax: str, limit: int = 1 << 30) -> structure.Survey:
    return structure.survey(BytesIO(data), len(data), syntax, limit)


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
    told = _told(_in_syntax(ds, syntax)[1], syntax)
    assert told.fault == ""
    assert {k: v for k, v in told.uids.items() if k != "SOPClassUID"} == UIDS
    assert content.why_unusable(told, "1.2.3.1") == ""


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x08\x00\x18\x00UI\xff\xff", b"GET / HTTP/1.1\r\n" * 9, bytes(999)]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_hostile_bytes_are_unusable_and_nothing_worse(data: bytes, syntax: str) -> None:
    assert content.why_unusable(_told(data, syntax), "1.2.3.1")


@pytest.mark.parametrize("keyword", list(UIDS))
@pytest.mark.parametrize(
    "value", ["", "../../etc/passwd", "1" * 65, ".1", "1.", "1.2 3", ["1.2", "1.3"]]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
def test_uid_that_is_none_is_named(ds: Dataset, keyword: str, value: Any) -> None:
    setattr(ds, keyword, value)
    told = _told(_in_syntax(ds, ExplicitVRLittleEndian)[1], ExplicitVRLittleEndian)
    assert f"no valid {keyword}" in content.why_unusable(told, "1.2.3.1")


def test_other_uid_than_the_request_said_is_unusable() -> None:
    assert "not the one of the C-STORE" in content.why_unusable(
        structure.Survey(dict(UIDS), "", 0), "1.2.3.99"
    )


def _stored(tmp_path: Path, ds: Dataset) -> Path:
    path = tmp_path / "stored.dcm"
    path.write_bytes(b"".join(_in_syntax(ds, ExplicitVRLittleEndian)))
    return path


def _compared(old: Path, ds: Dataset, syntax: str) -> str:
    new = old.with_name("new.dcm")
    new.write_bytes(b"".join(_in_syntax(ds, syntax)))
    return content.compare(old, new, same_pixels).value


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
    path = _stored(tmp_path, ds)
    change(ds)
    assert _compared(path, ds, syntax) == verdict


def test_polarity_in_the_same_syntax_is_another_image(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    _other_polarity(ds)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"


def test_same_elements_in_other_bytes_are_the_same(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    meta, data = _in_syntax(ds, ExplicitVRLittleEndian)
    new = tmp_path / "new.dcm"
    new.write_bytes(meta + data + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4))
    assert content.compare(path, new, same_pixels).value == "same"


def test_reason_names_the_series_that_is_known(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    _other_series(ds)
    new = tmp_path / "new.dcm"
    new.write_bytes(b"".join(_in_syntax(ds, ExplicitVRLittleEndian)))
    reason = content.compare(path, new, same_pixels).reason
    assert reason == "its SOP Instance UID is known from series 1.2.3 of study 1.2.1"


def test_what_cannot_be_compared_is_not_the_same(tmp_path: Path, ds: Dataset) -> None:
    assert _compared(tmp_path / "absent.dcm", ds, RLELossless) == "other"


def test_header_of_many_megabytes_is_not_read(
    tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    path = _stored(tmp_path, ds)
    _other_name(ds)
    monkeypatch.setattr(content, "COMPARED_BYTES", 100)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"


def test_decoders_work_in_a_child_that_may_die(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    new = tmp_path / "new.dcm"
    new.write_bytes(b"".join(_in_syntax(ds, RLELossless)))
    compared = PixelCompare()
    assert compared(path, new)
    child = compared._child
    assert child is not None
    child.kill()
    child.wait(10)
    assert not compared(path, new)
    assert compared(path, new)
    assert not compared(path, tmp_path / "absent.dcm")
    compared.close()
