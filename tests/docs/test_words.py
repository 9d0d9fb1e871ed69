"""The check of words finds what CONTRIBUTING.md rules out, and nothing in code or quotations of code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", ROOT / "docs/words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(words: ModuleType, tmp_path: Path, name: str, text: str) -> list[tuple[int, str]]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [(line, word) for line, word, _ in words.findings(path)]


def test_docstrings_messages_and_identifiers_are_read(words: ModuleType, tmp_path: Path) -> None:
    code = '''"""It stands here."""
def f(told: str) -> str:
    """Return the\n    whole file."""
    return f"given up by hand: {told}"
'''
    assert sorted(found(words, tmp_path, "a.py", code)) == [
        (1, "stands"), (2, "told"), (4, "whole"), (5, "by hand"), (5, "told"),
    ]  # fmt: skip


def test_code_is_not_prose(words: ModuleType, tmp_path: Path) -> None:
    code = 'color = whole = {"color": 1}\nbehind = "whole"\nx = "a whole number"  # told\n'
    assert found(words, tmp_path, "b.py", code) == [(3, "told")]


def test_documents_are_read_without_code_and_links(words: ModuleType, tmp_path: Path) -> None:
    text = "Nobody\nnobody `told` [x](whole.md)\n```\ntold\n```\nthe color of it\n"
    assert found(words, tmp_path, "c.md", text) == [(1, "Nobody"), (2, "nobody"), (6, "color")]


def test_the_table_of_the_rules_is_the_list_that_is_checked(words: ModuleType) -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| instead of |", 1)[1]
    named = set(re.findall(r"`([a-z ]+|no X is Y)`", table.split("\n\n", 1)[0]))
    for word in named - {"no X is Y"}:
        assert words.PATTERN.search(f"it {word} x"), word
    assert words.PATTERN.search("No worker is the master")
    assert len(named) == len(words.BANNED)
