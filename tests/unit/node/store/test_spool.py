from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from dicomseg.read import header as headers
from dicomseg.read import parsing
from node.durable import publish
from node.errors import DiskFull
from node.store import spool as spooling
from node.store.spool import Spool, Stored, file_meta

META = file_meta(MRImageStorage, "1.2.3.4", ExplicitVRLittleEndian, "SCANNER")
DATA = bytes(range(256)) * 4


def _put(spool: Spool, data: bytes, *, syntax: str = ExplicitVRLittleEndian) -> Stored:
    incoming = spool.begin(META)
    incoming.write(data)
    return spool.put(incoming, syntax)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def test_file_is_named_by_its_content_and_complete(spool: Spool) -> None:
    stored = _put(spool, DATA)
    digest = hashlib.sha256(DATA).hexdigest()
    assert stored.path.parent == spool.directory.root / "spool" / digest[:2]
    assert stored.path.name.startswith(f"{digest}-")
    assert stored.path.read_bytes() == META + DATA
    assert stored.bytes == len(META) + len(DATA)


def test_same_object_twice_is_one_file(spool: Spool) -> None:
    first = _put(spool, DATA)
    assert _put(spool, DATA) == first
    assert [p.name for p in first.path.parent.iterdir()] == [first.path.name]


def test_same_bytes_in_another_syntax_are_another_file_and_the_first_stays(spool: Spool) -> None:
    first = _put(spool, DATA)
    before = first.path.stat()
    second = _put(spool, DATA, syntax=ImplicitVRLittleEndian)
    assert second.path != first.path
    assert second.digest == first.digest
    _put(spool, DATA)
    after = first.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_damaged_file_is_put_right_by_the_same_object(spool: Spool) -> None:
    first = _put(spool, DATA)
    first.path.write_bytes(META + b"rotten")
    assert _put(spool, DATA).path.read_bytes() == META + DATA
    first.path.unlink()
    incoming = spool.begin(META)
    incoming.write(DATA)
    spool.restore(first.path, incoming)
    assert first.path.read_bytes() == META + DATA
    assert list(spool.directory.root.rglob("*.part")) == []


def test_nobody_else_may_read_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "state" / "spool").mkdir(parents=True)  # of an earlier version
    (tmp_path / "state" / "spool").chmod(0o755)
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "state")
        stored = _put(spool, DATA)
        held = publish(spool.directory.root / "results", "r1", {"seg.dcm": b"x"})
    finally:
        os.umask(before)
    modes = {p: p.stat().st_mode & 0o777 for p in (stored.path, held / "seg.dcm")}
    assert set(modes.values()) == {0o600}
    folders = [
        stored.path.parent,
        held,
        *(spool.directory.root / n for n in ("spool", "quarantine", "results")),
    ]
    assert {f.stat().st_mode & 0o777 for f in folders} == {0o700}


def test_what_is_delivered_is_as_private_as_the_folder_it_goes_to(tmp_path: Path) -> None:
    for mode, file_mode in ((0o755, 0o644), (0o770, 0o660)):
        root = tmp_path / oct(mode)
        root.mkdir()
        root.chmod(mode)
        before = os.umask(0o077)
        try:
            held = publish(root, "r1", {"seg.dcm": b"x"})
        finally:
            os.umask(before)
        assert held.stat().st_mode & 0o777 == mode
        assert (held / "seg.dcm").stat().st_mode & 0o777 == file_mode


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
    data = raw[parsing.split_file_meta(raw)[0] :]
    stored = _put(spool, data)
    assert (
        headers.read_instance(stored.path).digest
        == headers.read_instance(path).digest
        == stored.digest
    )


def test_order_is_data_then_name_then_folder(spool: Spool, monkeypatch: Any) -> None:
    _put(spool, DATA)  # the folder is there
    order: list[str] = []
    sync, move = spooling.sync_folder, spooling.move
    monkeypatch.setattr(os, "fdatasync", lambda _: order.append("fdatasync"))
    monkeypatch.setattr(spooling, "sync_folder", lambda p: (order.append("folder"), sync(p)))
    monkeypatch.setattr(spooling, "move", lambda p, t: (order.append("rename"), move(p, t))[1])
    _put(spool, DATA, syntax=ImplicitVRLittleEndian)
    assert order == ["fdatasync", "rename", "folder"]


def test_disk_error_leaves_nothing_behind(spool: Spool, monkeypatch: Any) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        _put(spool, DATA)
    assert [p for p in spool.directory.root.rglob("*") if p.is_file()] == []


def test_last_space_of_the_disk_is_not_taken(spool: Spool, monkeypatch: Any) -> None:
    space = SimpleNamespace(f_bavail=15_999, f_frsize=1000)
    monkeypatch.setattr(os, "statvfs", lambda _: space)
    with pytest.raises(DiskFull, match="15 MB free"):
        _put(spool, DATA)
    assert [p for p in spool.directory.root.rglob("*") if p.is_file()] == []


def test_sweep_removes_what_is_half_written_only(spool: Spool) -> None:
    stored = _put(spool, DATA)
    (stored.path.parent / "x.part").write_bytes(b"half")
    result = spool.directory.root / "results" / "r1"
    result.mkdir(parents=True)
    half = spool.directory.root / "results" / ".r2.77.part"
    half.mkdir()
    (half / "seg.dcm").write_bytes(b"half")
    assert spool.sweep() == 2
    assert stored.path.exists()
    assert result.exists()
    assert not half.exists()


def test_file_without_a_row_is_an_orphan(spool: Spool) -> None:
    known = _put(spool, DATA)
    unknown = _put(spool, b"other")
    third = spool.begin(META)
    third.write(b"third")
    quarantined = spool.quarantine(third, ExplicitVRLittleEndian)
    assert spool.orphans({str(known.path)}, spool.directory.spool) == [unknown.path]
    aside = spool.set_aside(unknown.path)
    assert aside.parent == spool.directory.root / "quarantine"
    assert spool.orphans({str(known.path)}, spool.directory.spool) == []
    assert quarantined.path.exists()
