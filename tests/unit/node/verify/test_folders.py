"""What is found below a folder: results, other objects, and one line for what cannot be judged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.errors import NoSuchPath
from node.verify import folders
from node.verify.folders import find_folders
from node.verify.objects import ResultSet
from tests.support.result_sets import copied

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def test_a_result_and_a_folder_of_two(results: ResultSet, tmp_path: Path) -> None:
    one, other = copied(results, tmp_path / "a"), copied(results, tmp_path / "b")
    (other.folder / "surfaces").mkdir()
    (other.folder / "surfaces" / "l4.stl").write_bytes(b"")
    for path in (one.folder, tmp_path):
        found = find_folders(path)
        assert all(f.has_result and not f.skipped and not f.damaged for f in found)
        assert list(found[0].objects) == [
            "seg.dcm",
            "midplane.dcm",
            "measurements.dcm",
            "volumes.dcm",
        ]
        assert found[0].objects["seg.dcm"] == SEG
    assert [f.path.name for f in find_folders(tmp_path)] == ["a", "b"]


def test_objects_without_a_result(results: ResultSet, tmp_path: Path) -> None:
    folder = copied(results, tmp_path / "a").folder
    (folder / "result.json").unlink()
    (folder / "seg.dcm").rename(folder / "1.2.3")
    (found,) = find_folders(tmp_path)
    assert not found.has_result
    assert found.objects["1.2.3"] == SEG


def test_a_line_for_each_hostile_file(results: ResultSet, tmp_path: Path) -> None:
    folder = copied(results, tmp_path / "a").folder
    (folder / "result.json").unlink()
    for path in folder.glob("*.dcm"):
        path.rename(folder / f"{path.stem}.old")
    (folder / "link").symlink_to(folder / "seg.old")
    os.mkfifo(folder / "pipe")
    with (folder / "huge").open("wb") as file:
        file.truncate(folders.SIZE_LIMIT + 1)
    (folder / "text\x1b[2J").write_text("no DICOM")
    (folder / "damaged").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\x7f1.2")
    (found,) = find_folders(tmp_path)
    assert len(found.objects) == 4
    lines = {Path(line.split(": ")[0]).name: line.split(": ", 1)[1] for line in found.skipped}
    assert lines == {
        "damaged": "damaged file meta information (no SOP class)",
        "link": "a link, which is not followed",
        "pipe": "not a file",
        "huge": "larger than 1 GiB",
        "text [2J": "not a DICOM file",
    }


def test_a_damaged_object_of_a_result_is_no_skipped_file(
    results: ResultSet, tmp_path: Path
) -> None:
    folder = copied(results, tmp_path / "a").folder
    (folder / "seg.dcm").write_bytes(b"cut")
    (folder / "volumes.dcm").unlink()
    (folder / "volumes.dcm").symlink_to("/etc/passwd")
    (found,) = find_folders(folder)
    assert found.damaged == {
        "seg.dcm": "not a DICOM file",
        "volumes.dcm": "a link, which is not followed",
    }
    assert found.skipped == ()


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_path_that_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSuchPath, match="no such folder"):
        find_folders(tmp_path / name)
    assert find_folders(tmp_path)[0].skipped[0].endswith("file: not a DICOM file")
