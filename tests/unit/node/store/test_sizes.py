from __future__ import annotations

from pathlib import Path

from node.store.sizes import MAX_FOLDERS, ResultSizes


def test_sizes_of_folders_come_a_few_at_a_time_and_go_with_them(tmp_path: Path) -> None:
    sizes = ResultSizes(tmp_path / "results")
    assert sizes.look() == 0
    for n in range(MAX_FOLDERS + 1):
        (tmp_path / "results" / f"r{n}" / "surfaces").mkdir(parents=True)
        (tmp_path / "results" / f"r{n}" / "seg.dcm").write_bytes(b"12345")
        (tmp_path / "results" / f"r{n}" / "surfaces" / "a.stl").write_bytes(b"12")
    (tmp_path / "results" / ".half.part").mkdir()
    (tmp_path / "results" / ".half.part" / "x").write_bytes(b"1")
    assert sizes.look() is None
    assert sizes.look() == 7 * (MAX_FOLDERS + 1)
    (tmp_path / "results" / "r0" / "seg.dcm").unlink()
    (tmp_path / "results" / "r0").rename(tmp_path / "elsewhere")
    assert sizes.look() == 7 * MAX_FOLDERS
