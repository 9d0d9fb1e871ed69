from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node.review.kept import CorrectionFolders


def _files(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name} in the spool" for name in ("seg", "a", "b")}
    for name, path in paths.items():
        path.write_bytes(name.encode())
    return paths


def test_files_are_second_names_where_the_disk_has_them(tmp_path: Path) -> None:
    files = _files(tmp_path)
    folder = CorrectionFolders(tmp_path).publish("x", files, {"schema": 2})
    assert (folder / "seg").stat().st_ino == files["seg"].stat().st_ino
    assert (folder / "b").samefile(files["b"])
    assert folder.stat().st_mode & 0o777 == 0o700


def test_files_are_copied_where_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    files = _files(tmp_path)
    folder = CorrectionFolders(tmp_path).publish("x", files, {})
    assert (folder / "a").read_bytes() == b"a"
    assert not (folder / "a").samefile(files["a"])


def test_nothing_is_left_of_a_folder_that_could_not_be_made(tmp_path: Path) -> None:
    files = _files(tmp_path)
    folders = CorrectionFolders(tmp_path)
    with pytest.raises(FileNotFoundError):
        folders.publish("x", files | {"c": tmp_path / "gone"}, {})
    assert list(folders.accepted.iterdir()) == []


def test_what_was_replaced_and_comes_again_is_in_one_place(tmp_path: Path) -> None:
    files = _files(tmp_path)
    folders = CorrectionFolders(tmp_path)
    folders.publish("x", files, {})
    assert folders.keep_only({"y"}) == 1
    assert [p.name for p in folders.replaced.iterdir()] == ["x"]
    folders.publish("x", files, {})
    assert [p.name for p in folders.accepted.iterdir()] == ["x"]
    assert list(folders.replaced.iterdir()) == []


def test_a_case_is_removed_wherever_it_is_and_half_of_one_too(tmp_path: Path) -> None:
    folders = CorrectionFolders(tmp_path)
    for name in ("x", "y"):
        folders.publish(name, _files(tmp_path), {})
    folders.keep_only({"y"})
    (folders.accepted / ".y.part").mkdir()
    for name in ("x", "y", "never"):
        folders.remove(name)
    assert [list(area.iterdir()) for area in (folders.accepted, folders.replaced)] == [[], []]
    assert (tmp_path / "seg in the spool").exists()
