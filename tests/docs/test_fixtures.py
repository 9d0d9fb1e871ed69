"""Fixtures that every test may use have names of their own: of two the one that is read later hides the other."""

from __future__ import annotations

import ast
from collections import Counter

from tests.support.paths import ROOT


def _fixtures() -> list[str]:
    return [
        node.name
        for file in sorted((ROOT / "tests" / "support").glob("*.py"))
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any("pytest.fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


def test_no_two_shared_fixtures_have_one_name() -> None:
    names = _fixtures()
    assert len(names) > 20
    assert [name for name, count in Counter(names).items() if count > 1] == []
