"""Broken, known and corrected objects: what is kept, what is kept apart, with which reason."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
)

from dicomseg.read import header as headers
from node.journal.instances import InstanceTable
from node.journal.states import InstanceState
from node.step import read_headers
from tests.support.mr_series import KEY
from tests.support.senders import data_set_of, needs_dcmtk, send_files, storescu


def test_other_content_under_a_known_uid_is_kept_and_told(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    other = dcmread(path)
    other.PixelData = other.PixelData[::-1]
    assert send_files(node.port, path, other) == [0, 0]
    (alarm,) = node.wait_for("ObjectQuarantined")
    assert alarm["sop_instance"] == "1.2.3.1"
    kept = Path(alarm["path"])
    assert kept.parent.parent == node.spool.directory.root / "quarantine"
    assert dcmread(kept).PixelData == other.PixelData
    (stored,) = node.journal.instances.of_series(KEY)
    assert dcmread(stored.path).PixelData == dcmread(path).PixelData
    assert [r.path for r in node.journal.instances.quarantined()] == [kept]


def test_two_senders_with_other_content_at_once_lose_neither(
    listen: Any, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    other = dcmread(path)
    other.PixelData = other.PixelData[::-1]
    monkeypatch.setattr(InstanceTable, "named", lambda *_: [])  # both looked before either wrote
    assert send_files(node.port, path, other) == [0, 0]
    assert len(node.wait_for("ObjectQuarantined")) == 1
    assert len(node.files()) == 2
    assert (
        len(node.journal.instances.of_series(KEY)) == len(node.journal.instances.quarantined()) == 1
    )


@pytest.mark.servers
@needs_dcmtk
def test_same_content_in_another_syntax_is_no_alarm(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = [str(p) for p in write_series(tmp_path / "in", slices=2)]
    for program in (["dcmcjpls"], ["dcmcrle"], ["dcmconv", "+ti"], ["dcmconv", "+td"]):
        subprocess.run([*program, paths[0], f"{paths[0]}.{program[-1]}"], check=True, timeout=10)
    for option, file in (
        ("-xe", paths[0]), ("-xt", f"{paths[0]}.dcmcjpls"), ("-xr", f"{paths[0]}.dcmcrle"),
        ("-xi", f"{paths[0]}.+ti"), ("-xd", f"{paths[0]}.+td"),
    ):  # fmt: skip
        sent = storescu(node.port, option, file)
        assert sent.returncode == 0, sent.stderr
    assert sum(e["same"] for e in node.wait_for("AssociationEnded", 5)) == 4
    assert node.events("ObjectQuarantined") == []
    assert node.journal.series.get(KEY).instances == 1


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


_DEFLATED = (MRImageStorage, (DeflatedExplicitVRLittleEndian,))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: _deflated(data)[:-9], "the deflate stream is cut off"),
        (lambda data: b"\xff" + _deflated(data)[1:], "cannot be read"),
        (lambda data: _deflated(data[:-5]), "(7FE0,0010): 5 bytes of a value are missing"),
        (
            lambda data: _deflated(
                data
                + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 9_000_000)
                + bytes(9_000_000)
            ),
            "inflates to more than 2 MB",
        ),
    ],
    ids=["cut", "damaged", "cut inside", "bomb"],
)
def test_deflated_object_that_is_broken_or_a_bomb_is_kept_apart(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any, spoil: Any, reason: str
) -> None:
    node = listen(max_object_mb=2)
    first, second = write_series(tmp_path / "in", slices=2)
    with raw_peer(node.port).associate(_DEFLATED, (MRImageStorage, (ExplicitVRLittleEndian,))) as p:
        assert p.store(spoil(data_set_of(first)), "1.2.3.1") == 0
        assert p.store(data_set_of(second), "1.2.3.2", context=3) == 0
    (alarm,) = node.wait_for("ObjectQuarantined")
    assert reason in alarm["reason"]
    (row,) = node.journal.instances.quarantined()
    assert (row.path, row.reason) == (Path(alarm["path"]), alarm["reason"])
    assert row.path.is_file()
    assert [r.sop_instance_uid for r in node.journal.instances.of_series(KEY)] == ["1.2.3.2"]


def test_truncated_object_is_kept_apart_and_its_whole_one_stored(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    with raw_peer(node.port).associate() as peer:
        assert peer.store(data_set_of(path)[:-7], "1.2.3.1") == 0
        assert peer.store(data_set_of(path), "1.2.3.1") == 0
    assert (
        "(7FE0,0010): a value of 32 bytes, 25 are there"
        in node.journal.instances.quarantined()[0].reason
    )
    assert node.journal.series.get(KEY).instances == 1


def test_number_of_three_bytes_is_kept_apart(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    columns = b"\x28\0\x11\0US\2\0\4\0"
    spoilt = data_set_of(path).replace(columns, b"\x28\0\x11\0US\3\0\4\0\0")
    assert spoilt != data_set_of(path)
    with raw_peer(node.port).associate() as peer:
        assert peer.store(spoilt, "1.2.3.1") == 0
    assert "(0028,0011): 3 bytes" in node.journal.instances.quarantined()[0].reason


@pytest.mark.filterwarnings("ignore:Expected implicit VR")
def test_same_bytes_in_another_syntax_leave_the_acknowledged_file_as_it_is(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    syntaxes = (ExplicitVRLittleEndian, JPEGLosslessSV1, ImplicitVRLittleEndian)
    contexts = [(MRImageStorage, (syntax,)) for syntax in syntaxes]
    with raw_peer(node.port).associate(*contexts) as peer:
        assert peer.store(data_set_of(path), "1.2.3.1") == 0
        (row,) = node.journal.instances.of_series(KEY)
        before = row.path.read_bytes()
        assert peer.store(data_set_of(path), "1.2.3.1", context=3) == 0
        assert peer.store(data_set_of(path), "1.2.3.1", context=5) == 0
        assert peer.store(data_set_of(path), "1.2.3.1", context=3) == 0
    assert node.journal.instances.of_series(KEY) == [row]
    assert row.path.read_bytes() == before
    rows = [row, *node.journal.instances.quarantined()]
    assert {r.path for r in rows} == {p for p in node.files() if p.suffix == ".dcm"}
    for one in rows:  # journal and file agree
        assert dcmread(one.path).file_meta.TransferSyntaxUID == one.transfer_syntax_uid


def test_bytes_under_a_wrong_syntax_do_not_bar_them_under_the_right_one(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    with raw_peer(node.port).associate(_DEFLATED, (MRImageStorage, (ExplicitVRLittleEndian,))) as p:
        for _ in range(2):
            assert p.store(data_set_of(path), "1.2.3.1") == 0
        assert p.store(data_set_of(path), "1.2.3.1", context=3) == 0
        assert p.store(data_set_of(path), "1.2.3.1") == 0
    (stored,), (apart,) = (
        node.journal.instances.of_series(KEY),
        node.journal.instances.quarantined(),
    )
    assert stored.transfer_syntax_uid == ExplicitVRLittleEndian
    assert apart.transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    assert {stored.path, apart.path} == set(node.files())


def test_lost_file_comes_back_with_the_same_object(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    assert send_files(node.port, path) == [0]
    (row,) = node.journal.instances.of_series(KEY)
    row.path.unlink()
    assert send_files(node.port, path) == [0]
    assert headers.read_instance(row.path).digest == row.digest


def test_object_set_aside_for_its_damaged_file_comes_back_with_the_same_object(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=2)
    assert send_files(node.port, *paths) == [0, 0]
    gone, short = (r.path for r in node.journal.instances.of_series(KEY))
    gone.unlink()
    short.write_bytes(short.read_bytes()[:200])
    read_headers(node.journal, KEY, headers.read_instance, lambda _: None)
    assert node.journal.instances.of_series(KEY) == []
    assert send_files(node.port, *paths) == [0, 0]
    rows = node.journal.instances.of_series(KEY)
    assert [headers.read_instance(r.path).digest for r in rows] == [r.digest for r in rows]
    assert len(rows) == 2
    assert node.journal.instances.quarantined() == []


def _renamed(path: Path, **changes: Any) -> Dataset:
    ds = dcmread(path)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def test_corrected_patient_is_a_correction_with_both_contents_kept(
    listen: Any, tmp_path: Path, write_series: Any
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=3)
    assert send_files(node.port, *paths) == [0, 0, 0]
    right = [_renamed(p, PatientName="Right^Person", PatientID="P-2") for p in paths]
    assert send_files(node.port, *right) == [0, 0, 0]
    assert node.events("ObjectQuarantined") == []
    stored = node.journal.instances.of_series(KEY)
    assert {dcmread(r.path).PatientID for r in stored} == {"P-2"}
    superseded = node.journal.instances.unused(KEY)
    assert [r.state for r in superseded] == [InstanceState.SUPERSEDED] * 3
    assert {dcmread(r.path).PatientID for r in superseded} == {"T1"}
    assert node.journal.series.get(KEY).instances == 3
    assert node.wait_for("AssociationEnded", 2)[1]["stored"] == 3
    # the first sender again: the newest header is right
    assert send_files(node.port, *paths) == [0, 0, 0]
    assert {dcmread(r.path).PatientID for r in node.journal.instances.of_series(KEY)} == {"T1"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SeriesInstanceUID": "1.2.77"}, "known from series 1.2.3 of study 1.2.1"),
        ({"StudyInstanceUID": "1.2.78"}, "known from series 1.2.3 of study 1.2.1"),
        ({"ImagePositionPatient": [0, 0, 50]}, "other content"),
    ],
)
def test_known_uid_in_another_series_or_place_is_kept_apart_with_the_reason(
    listen: Any, tmp_path: Path, write_series: Any, change: dict[str, Any], reason: str
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    assert send_files(node.port, path, _renamed(path, **change)) == [0, 0]
    (row,) = node.journal.instances.quarantined()
    assert reason in row.reason
    assert node.journal.series.get(KEY).instances == 1
    assert change.get("SeriesInstanceUID", "1.2.3") == row.series.series


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_uid_of_66_characters_is_kept_and_its_reason_says_so(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any, keyword: str, monkeypatch: Any
) -> None:
    node = listen()
    (path,) = write_series(tmp_path / "in", slices=1)
    long = "1.2." + "3" * 62
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    _renamed(path, **{keyword: long}).save_as(path)
    sop = long if keyword == "SOPInstanceUID" else "1.2.3.1"
    with raw_peer(node.port).associate() as peer:
        assert peer.store(data_set_of(path), sop) == 0
    (row,) = node.journal.instances.quarantined()
    assert row.reason == f"the data set has no valid {keyword}, but one of 66 characters"
    assert row.path.is_file()
    assert node.wait_for("AssociationEnded")[0]["peer"] == "127.0.0.1"
