from __future__ import annotations

from pathlib import Path

import pytest

from node.notices.memory import MAX_CHANGES, Memory, Post, load, save


def test_file_holds_everything(tmp_path: Path) -> None:
    memory = Memory(
        {"a": 1.5},
        {"b": "text"},
        {"c": 2.0},
        "2026-11-30",
        {"mail": Post(("x", "y"), 3, "d", 2, 9.0)},
    )
    save(tmp_path / "notices.json", memory)
    assert load(tmp_path / "notices.json") == memory


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"posts": 1}', '{"posts": {"mail": {}}}', '{"x": 1}']
)
def test_damaged_file_is_an_empty_memory(tmp_path: Path, content: str) -> None:
    (tmp_path / "notices.json").write_text(content)
    assert load(tmp_path / "notices.json") == Memory()
    assert load(tmp_path / "none.json") == Memory()


def test_changes_that_wait_are_bounded() -> None:
    post = Post()
    for n in range(MAX_CHANGES + 5):
        post = post.with_changes((f"{n}",))
    assert len(post.changes) == MAX_CHANGES
    assert (post.changes[0], post.dropped) == ("5", 5)
