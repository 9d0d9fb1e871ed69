from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomseg.read import parsing
from node.receive import identify as content
from node.receive import structure
from tests.support.syntaxes import in_syntax

UIDS = {"SOPInstanceUID": "1.2.3.1", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.3"}


@pytest.fixture
def ds(tmp_path: Path, write_series: Any) -> Dataset:
    (path,) = write_series(tmp_path / "in", slices=1)
    return dcmread(path)


def _survey(data: bytes, syntax: str, limit: int = 1 << 30) -> structure.Survey:
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
    found = _survey(in_syntax(ds, syntax)[1], syntax)
    assert found.fault == ""
    assert {k: v for k, v in found.uids.items() if k != "SOPClassUID"} == UIDS
    assert content.why_unusable(found, "1.2.3.1") == ""


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x08\x00\x18\x00UI\xff\xff", b"GET / HTTP/1.1\r\n" * 9, bytes(999)]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_hostile_bytes_are_unusable_and_nothing_worse(data: bytes, syntax: str) -> None:
    assert content.why_unusable(_survey(data, syntax), "1.2.3.1")


@pytest.mark.parametrize("keyword", list(UIDS))
@pytest.mark.parametrize(
    "value", ["", "../../etc/passwd", "1" * 65, ".1", "1.", "1.2 3", ["1.2", "1.3"]]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
def test_uid_that_is_none_is_named(ds: Dataset, keyword: str, value: Any) -> None:
    setattr(ds, keyword, value)
    found = _survey(in_syntax(ds, ExplicitVRLittleEndian)[1], ExplicitVRLittleEndian)
    assert f"no valid {keyword}" in content.why_unusable(found, "1.2.3.1")


def test_other_uid_than_the_request_said_is_unusable() -> None:
    assert "not the one of the C-STORE" in content.why_unusable(
        structure.Survey(dict(UIDS), "", 0), "1.2.3.99"
    )


def _of_pydicom() -> list[Path]:
    """Odd and ordinary objects that pydicom brings for its own tests."""
    files = [p for p in Path(DATA_ROOT, "test_files").glob("*.dcm") if p.stat().st_size < 1_000_000]
    return [p for p in sorted(files) if parsing.split_file_meta(p.read_bytes())[1]]


@pytest.mark.parametrize("path", _of_pydicom(), ids=lambda p: p.stem)
def test_walk_finds_fault_in_what_is_truncated_and_in_nothing_else(path: Path) -> None:
    raw = path.read_bytes()
    syntax = read_file_meta_info(path).get("TransferSyntaxUID", ImplicitVRLittleEndian)
    found = _survey(raw[parsing.split_file_meta(raw)[0] :], syntax)
    assert bool(found.fault) is ("truncated" in path.stem), found.fault
