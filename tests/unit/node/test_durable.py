from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from node.durable import move_durably, publish, replace_durably, unfinished_folder

ROOT = Path(__file__).parents[3]


def _renames_or_syncs(path: Path) -> list[str]:
    """Calls that rename a file or wait for the disk, as "line: name"."""
    calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
    names = [(c, c.func.attr) for c in calls if isinstance(c.func, ast.Attribute)]
    return [
        f"{path.name}:{call.lineno}: {name}"
        for call, name in names
        if name in {"fsync", "fdatasync", "rename", "renames"}
        # `Path.replace` and `os.replace`; that of a text takes two arguments, that of a date names them.
        or (name == "replace" and len(call.args) == 1 and not call.keywords)
        or (name in {"replace", "move"} and ast.unparse(call.func).startswith(("os.", "shutil.")))
    ]


def test_only_one_module_of_the_node_renames_and_syncs() -> None:
    modules = sorted((ROOT / "node").rglob("*.py"))
    found = [
        line for path in modules if path.name != "durable.py" for line in _renames_or_syncs(path)
    ]
    assert len(modules) > 50
    assert found == []


def test_the_search_for_renames_finds_them() -> None:
    assert len(_renames_or_syncs(ROOT / "node" / "durable.py")) == 7


def test_replaced_file_is_as_private_as_its_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    replace_durably(tmp_path / "a", b"old")
    replace_durably(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_move_makes_both_folders_durable_target_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "a").write_bytes(b"x")
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
    )
    move_durably(tmp_path / "from" / "a", tmp_path / "to" / "b")
    assert (tmp_path / "to" / "b").read_bytes() == b"x"
    assert synced == ["to", "from"]


def test_folder_that_is_published_first_stays(tmp_path: Path) -> None:
    publish(tmp_path, "r", {"a": b"1"})
    publish(tmp_path, "r", {"a": b"2"})
    assert (tmp_path / "r" / "a").read_bytes() == b"1"


def test_published_files_may_lie_in_a_folder_below_which_is_as_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o750)
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
    )
    publish(tmp_path, "r", {"a": b"1", "s/b": b"2", "s/c": b"3"})
    held = {str(p.relative_to(tmp_path / "r")): p for p in (tmp_path / "r").rglob("*")}
    assert {n: p.read_bytes() for n, p in held.items() if p.is_file()} == {
        "a": b"1", "s/b": b"2", "s/c": b"3",
    }  # fmt: skip
    assert held["s"].stat().st_mode & 0o777 == 0o750
    assert held["s/b"].stat().st_mode & 0o777 == 0o640
    part = f".r.{os.getpid()}.part"
    assert synced == ["a", "b", "c", "s", part, tmp_path.name]


def test_what_a_killed_process_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    gone = 1 << 22  # above the largest process id of Linux
    left = [f".r.{gone}.part", f".r.{os.getppid()}.part", f".other.{gone}.part"]
    for name in left:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"1")
    publish(tmp_path, "r", {"a": b"2"})
    assert {p.name for p in tmp_path.iterdir()} == {"r", *left[1:]}


def test_folder_that_appears_meanwhile_stays(tmp_path: Path, monkeypatch: Any) -> None:
    def other(self: Path, target: Path) -> None:
        target.mkdir()
        (target / "a").write_bytes(b"theirs")
        raise OSError(39, "Directory not empty")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", other)
        publish(tmp_path, "r", {"a": b"ours"})
    assert (tmp_path / "r" / "a").read_bytes() == b"theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_nothing_is_left_of_a_folder_that_could_not_be_written(tmp_path: Path) -> None:
    def fill() -> None:
        with unfinished_folder(tmp_path / "r", tmp_path / ".r.part") as part:
            (part / "a").write_bytes(b"1")
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert list(tmp_path.iterdir()) == []
