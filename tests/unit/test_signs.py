"""Every room says at its door what it is for; what it may import is compared with the code and the layers."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted(
    p.parent
    for package in ("node", "dicomseg", "model", "training")
    for p in (ROOT / package).glob("*/__init__.py")
    if any(q.name != "__init__.py" for q in p.parent.glob("*.py"))
)
SHAPE = re.compile(
    r"(?P<purpose>.+\.)\n\nIn: .+?\.\nOut: .+?\.\nEdge: .+?\.\nMay import: (?P<names>.+)\.",
    re.DOTALL,
)
EVERY = "every room of node"
RE_EXPORTS = {"training/phantom"}
"""The only door with more than a sign: `training.phantom.build` is a public name."""


def _name(room: Path) -> str:
    return room.relative_to(ROOT).as_posix()


def _floors(package: str) -> dict[str, int]:
    """Floor of every room by the layers of pyproject.toml; the top one is 0."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    for contract in contracts["contracts"]:
        if package in contract.get("containers", ()):
            layers = [re.split(r"\s*\|\s*", layer) for layer in contract["layers"]]
            return {room: floor for floor, rooms in enumerate(layers) for room in rooms}
    raise AssertionError(f"no layers of {package}")


def _imported(room: Path) -> set[str]:
    """Rooms of the same package that the modules of a room import, for type checkers too."""
    package = room.parent.name
    names: set[str] = set()
    for path in room.rglob("*.py"):
        for n in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(n, ast.ImportFrom) and n.module == package:
                names |= {alias.name for alias in n.names}
            elif isinstance(n, ast.ImportFrom) and (n.module or "").startswith(f"{package}."):
                names.add(str(n.module).split(".")[1])
    return names - {room.name}


@pytest.mark.parametrize("room", ROOMS, ids=_name)
def test_sign_has_its_shape_and_names_what_the_room_imports(room: Path) -> None:
    source = (room / "__init__.py").read_text("utf-8")
    tree = ast.parse(source)
    sign = ast.get_docstring(tree) or ""
    found = SHAPE.fullmatch(sign)
    assert found, sign
    assert len(sign.splitlines()) <= 8
    assert len(tree.body) == 1 or _name(room) in RE_EXPORTS
    floors = _floors(room.parent.name)
    below = {name for name, floor in floors.items() if floor > floors[room.name]}
    names = found["names"]
    words = {EVERY: below, f"nothing of {room.parent.name}": set[str]()}
    named = words[names] if names in words else set(names.split(", "))
    assert named <= below
    assert _imported(room) <= named


def test_all_rooms_are_looked_at() -> None:
    assert len(ROOMS) >= 28
    assert {r.parent.name for r in ROOMS} == {"node", "dicomseg", "model", "training"}
