from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicomseg import headers
from node import spool as spooling
from node.errors import DiskFull
from node.spool import Spool, digest_of, file_meta

META = file_meta(MRImageStorage, "1.2.3.4", ExplicitVRLittleEndian, "SCANNER")
DATA = bytes(range(256)) * 4


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def test_file_is_named_by_its_content_and_complete(spool: Spool) -> None:
    stored = spool.put(META, DATA, digest_of(DATA))
    digest = hashlib.sha256(DATA).hexdigest()
    assert stored.path == spool.state / "spool" / digest[:2] / f"{digest}.dcm"
    assert stored.path.read_bytes() == META + DATA
    assert stored.bytes == len(META) + len(DATA)


def test_same_object_twice_is_one_file(spool: Spool) -> None:
    first = spool.put(META, DATA, digest_of(DATA))
    assert spool.put(META, DATA, digest_of(DATA)) == first
    assert [p.name for p in first.path.parent.iterdir()] == [first.path.name]


@pytest.mark.parametrize("uid", ["1.2.3.4", "1.2.3.45"])
@pytest.mark.parametrize("calling", ["", "ODD", "EVEN"])
def test_file_meta_is_read_back_by_others(uid: str, calling: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(file_meta(MRImageStorage, uid, ExplicitVRLittleEndian, calling))
    meta = dcmread(path).file_meta
    assert meta.MediaStorageSOPClassUID == MRImageStorage
    assert meta.MediaStorageSOPInstanceUID == uid
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.get("SendingApplicationEntityTitle", "") == calling
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == path.stat().st_size - 132 - 12


def test_digest_is_the_one_that_headers_tell(
    spool: Spool, tmp_path: Path, write_series: Any
) -> None:
    (path,) = write_series(tmp_path / "in", slices=1)
    raw = path.read_bytes()
    data = raw[headers.split(raw)[0] :]
    stored = spool.put(META, data, digest_of(data))
    assert headers.read(stored.path).digest == headers.read(path).digest == stored.digest


def test_order_is_data_then_name_then_folder(spool: Spool, monkeypatch: Any) -> None:
    spool.put(META, DATA, digest_of(DATA))  # the folder is there
    order: list[str] = []
    sync, replace = spooling.sync_folder, Path.replace
    monkeypatch.setattr(os, "fdatasync", lambda _: order.append("fdatasync"))
    monkeypatch.setattr(spooling, "sync_folder", lambda p: (order.append("folder"), sync(p)))
    monkeypatch.setattr(Path, "replace", lambda p, t: (order.append("rename"), replace(p, t))[1])
    spool.put(META, DATA, digest_of(DATA))
    assert order == ["fdatasync", "rename", "folder"]


def test_disk_error_leaves_nothing_behind(spool: Spool, monkeypatch: Any) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        spool.put(META, DATA, digest_of(DATA))
    assert [p for p in spool.state.rglob("*") if p.is_file()] == []


def test_last_space_of_the_disk_is_not_taken(spool: Spool, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(spool.state)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=16_000_000))
    with pytest.raises(DiskFull, match="16 MB free"):
        spool.put(META, DATA, digest_of(DATA))
    assert [p for p in spool.state.rglob("*") if p.is_file()] == []


def test_sweep_removes_what_is_half_written_only(spool: Spool) -> None:
    stored = spool.put(META, DATA, digest_of(DATA))
    (stored.path.parent / "x.part").write_bytes(b"half")
    result = spool.state / "results" / "r1"
    result.mkdir(parents=True)
    half = spool.state / "results" / ".r2.77.part"
    half.mkdir()
    (half / "seg.dcm").write_bytes(b"half")
    assert spool.sweep() == 2
    assert stored.path.exists()
    assert result.exists()
    assert not half.exists()


def test_file_without_a_row_is_an_orphan(spool: Spool) -> None:
    known = spool.put(META, DATA, digest_of(DATA))
    unknown = spool.put(META, b"other", digest_of(b"other"))
    quarantined = spool.quarantine(META, b"third", digest_of(b"third"))
    assert spool.orphans({str(known.path)}) == [unknown.path]
    aside = spool.set_aside(unknown.path)
    assert aside.parent == spool.state / "quarantine"
    assert spool.orphans({str(known.path)}) == []
    assert quarantined.path.exists()
