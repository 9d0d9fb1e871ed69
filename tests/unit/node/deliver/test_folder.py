"""A folder as destination: repairs, asks without changing, says what it cannot read."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SegmentationStorage,
)

from node.deliver.folder import Folder
from node.deliver.port import ResultFile
from node.errors import PeerUnreachable
from tests.support.parcels import FILES, UIDS, files_of, write_result


@pytest.fixture
def files(tmp_path: Path) -> tuple[ResultFile, ...]:
    folder = tmp_path / "results" / "0123456789abcdef"
    folder.mkdir(parents=True)
    write_result(folder / "seg.dcm", SegmentationStorage, UIDS["seg.dcm"])
    write_result(folder / "measurements.dcm", ComprehensiveSRStorage, UIDS["measurements.dcm"])
    return files_of(folder, FILES)


def test_folder_repairs_a_damaged_file(tmp_path: Path, files: tuple[ResultFile, ...]) -> None:
    destination = Folder("folder", tmp_path / "out")
    destination.send(files)
    copy = tmp_path / "out" / "0123456789abcdef" / "seg.dcm"
    copy.write_bytes(b"damaged")
    assert destination.verify_stored(files).value == "missing"
    destination.send(files)
    assert destination.verify_stored(files).value == "stored"
    assert sorted(p.name for p in copy.parent.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("there", [True, False])
def test_asking_a_folder_changes_nothing(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "a" / "b"
    if there:
        path.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert str(path) in Folder("folder", path).echo().text
    assert sorted(tmp_path.rglob("*")) == before


def test_folder_that_cannot_be_read_proves_nothing(
    tmp_path: Path, files: tuple[ResultFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = Folder("folder", tmp_path / "out")
    destination.send(files)

    def fails(_: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", "seg.dcm")

    monkeypatch.setattr(Path, "read_bytes", fails)
    assert destination.verify_stored(files).value == "unknown"


def test_folder_that_cannot_be_made_is_transient(
    tmp_path: Path, files: tuple[ResultFile, ...]
) -> None:
    (tmp_path / "file").write_text("no folder")
    destination = Folder("folder", tmp_path / "file" / "out")
    assert {o.disposition for o in destination.send(files)} == {"transient"}
    with pytest.raises(PeerUnreachable):
        destination.echo()
