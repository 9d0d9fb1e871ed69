"""docs/rooms.py counts what is there: on a tree of five modules whose arrows are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

MODULES = {
    "node/__init__.py": "",
    "node/floor.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import node.top.app\n",
    "node/middle/__init__.py": "",
    "node/middle/a.py": "from node.middle import b\nfrom node import floor\n",
    "node/middle/b.py": "def late():\n    import node.middle.a\n    from node.top.app import run\n",
    "node/top/app.py": "import node.middle.a\nfrom node.floor import x\n",
}
LAYERS = """
[[tool.importlinter.contracts]]
name = "node"
type = "layers"
containers = ["node"]
layers = ["top", "middle", "floor"]
"""


def _counted(root: Path, *options: str) -> dict[str, tuple[str, ...]]:
    command = [sys.executable, str(ROOT / "docs" / "rooms.py"), "--root", str(root), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    return {row[0]: tuple(row[1:]) for row in rows}


def _tree(root: Path) -> Path:
    for package in ("node", "dicomseg", "model", "cluster", "training"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
    for name, text in MODULES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "pyproject.toml").write_text(LAYERS)
    return root


def test_rooms_arrows_circles_and_upward_arrows_are_counted(tmp_path: Path) -> None:
    counted = _counted(_tree(tmp_path / "tree"))
    columns = dict(zip(counted["package"], counted["node"], strict=True))
    # Arrows: middle → floor, middle → top (upward, inside a function), top → middle, top → floor.
    assert columns == {
        "modules": "5",
        "longest": "3",
        "rooms": "3",
        "arrows": "4",
        "circles": "1",
        "modules in circles": "3",
        "upward": "1",
    }
    assert counted["model"][2:5] == ("0", "0", "0")


def test_this_checkout_has_rooms_without_circles_in_the_core() -> None:
    counted = _counted(ROOT)
    columns = dict(zip(counted["package"], counted["dicomseg"], strict=True))
    assert int(columns["rooms"]) >= 7
    assert columns["circles"] == "0"
    assert columns["upward"] == "0"
