from __future__ import annotations

import ast
import re
from pathlib import Path

from dicomseg.errors import LumbarError
from node import errors

CLASSES = [
    c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__
]


def test_tree_at_the_top_draws_every_class_below_its_base() -> None:
    drawn: dict[str, str] = {}
    above = ["LumbarError"]
    for line in (errors.__doc__ or "").splitlines():
        branch = re.fullmatch(r"([│ ]*)[├└]── (\w+)", line)
        if branch:
            depth = len(branch[1]) // 4 + 1
            above[depth:] = [branch[2]]
            drawn[branch[2]] = above[depth - 1]
    assert drawn == {c.__name__: c.__bases__[0].__name__ for c in CLASSES}
    assert len(drawn) >= 22


def test_every_code_is_of_one_class() -> None:
    codes = [c.code for c in CLASSES if issubclass(c, LumbarError)]
    assert len(set(codes)) == len(codes)


def test_no_other_room_but_the_demonstration_has_errors_of_its_own() -> None:
    root = Path(errors.__file__).parent
    names = {c.__name__ for c in CLASSES} | {"LumbarError"}
    paths = [p for p in root.rglob("*.py") if p.name != "errors.py" and "demo" not in p.parts]
    classes = [
        n
        for p in paths
        for n in ast.walk(ast.parse(p.read_text("utf-8")))
        if isinstance(n, ast.ClassDef)
    ]
    assert [c.name for c in classes if {ast.unparse(b) for b in c.bases} & names] == []
