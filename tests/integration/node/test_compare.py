from __future__ import annotations

import errno
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
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
from node.receive.compare_process import Comparer
from tests.support.syntaxes import in_syntax


@pytest.fixture
def ds(tmp_path: Path, write_series: Any) -> Dataset:
    (path,) = write_series(tmp_path / "in", slices=1)
    return dcmread(path)


def _stored(tmp_path: Path, ds: Dataset) -> Path:
    path = tmp_path / "stored.dcm"
    path.write_bytes(b"".join(in_syntax(ds, ExplicitVRLittleEndian)))
    return path


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
    path = _stored(tmp_path, ds)
    change(ds)
    assert _compared(path, ds, syntax) == verdict


def test_polarity_in_the_same_syntax_is_another_image(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    _other_polarity(ds)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"


def test_same_elements_in_other_bytes_are_the_same(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    meta, data = in_syntax(ds, ExplicitVRLittleEndian)
    new = tmp_path / "new.dcm"
    new.write_bytes(meta + data + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4))
    assert compare(path, new).value == "same"


def test_reason_names_the_series_that_is_known(tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
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
    path = _stored(tmp_path, ds)
    _other_name(ds)
    monkeypatch.setattr("node.receive.compare.LARGEST_HEADER", 100)
    assert _compared(path, ds, ExplicitVRLittleEndian) == "other"


@pytest.fixture
def comparer() -> Iterator[Comparer]:
    one = Comparer()
    yield one
    one.close()


def test_child_that_died_in_between_costs_no_comparison(
    comparer: Comparer, tmp_path: Path, ds: Dataset
) -> None:
    path = _stored(tmp_path, ds)
    new = tmp_path / "new.dcm"
    new.write_bytes(b"".join(in_syntax(ds, RLELossless)))
    assert comparer(path, new).value == "same"
    child = comparer._child
    assert child is not None
    child.terminate()  # as a service manager does to every process of a service that it stops
    child.wait(10)
    assert comparer(path, new).value == "same"
    assert comparer(path, tmp_path / "absent.dcm").value == "other"


def test_child_does_not_hear_ctrl_c(comparer: Comparer, tmp_path: Path, ds: Dataset) -> None:
    path = _stored(tmp_path, ds)
    comparer(path, path)
    assert comparer._child is not None
    assert os.getpgid(comparer._child.pid) != os.getpgrp()


def test_objects_that_end_the_child_twice_are_not_the_same(
    comparer: Comparer, tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    starts: list[object] = []

    def dies() -> subprocess.Popen[str]:
        starts.append(1)
        return subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    monkeypatch.setattr("node.receive.compare_process._start", dies)
    path = _stored(tmp_path, ds)
    assert comparer(path, path).value == "other"
    assert len(starts) == 2


def test_machine_without_room_for_the_child_decides_nothing(
    comparer: Comparer, tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    def no_room() -> subprocess.Popen[str]:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("node.receive.compare_process._start", no_room)
    path = _stored(tmp_path, ds)
    with pytest.raises(OSError, match="temporarily unavailable"):
        comparer(path, path)


def test_child_that_takes_too_long_is_ended(
    comparer: Comparer, tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    path = _stored(tmp_path, ds)
    monkeypatch.setattr("node.receive.compare_process.MOST_S", 0.0)
    assert comparer(path, path).value == "other"
    assert comparer._child is None


def test_picture_that_declares_gigabytes_costs_the_child_not_the_node(
    comparer: Comparer, tmp_path: Path, ds: Dataset
) -> None:
    ds.Rows = ds.Columns = 65535
    native = _stored(tmp_path, ds)
    ds.Rows = ds.Columns = 4
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.Rows = ds.Columns = 65535
    path = tmp_path / "huge.dcm"
    ds.save_as(path, enforce_file_format=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert comparer(path, native).value == "other"
    assert comparer(path, path).value == "same"  # equal bytes need no decoder
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
