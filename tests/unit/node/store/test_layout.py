from __future__ import annotations

import ast
from pathlib import Path

from node.store.layout import StateDirectory

ROOT = Path(__file__).parents[4]
NAMES = frozenset({"journal.sqlite", "spool", "quarantine", "jobs", "withdrawals"})


def test_paths_below_the_state_folder(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    paths = {
        name: getattr(directory, name)
        for name in (
            "journal",
            "new_journal",
            "lock",
            "spool",
            "quarantine",
            "results",
            "models",
            "withdrawals",
        )
    }
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in paths.items()} == {
        "journal": "journal.sqlite",
        "new_journal": ".journal.sqlite.new",
        "lock": "lock",
        "spool": "spool",
        "quarantine": "quarantine",
        "results": "results",
        "models": "models",
        "withdrawals": "withdrawals",
    }
    assert directory.job(7) == tmp_path / "jobs" / "7"
    assert directory.engines == tmp_path / "engines"
    assert list(tmp_path.iterdir()) == []


def _joined_names(path: Path) -> list[str]:
    """Names of the state folder that a module joins to a path by `/`."""
    tree = ast.parse(path.read_text("utf-8"))
    joined = [
        n.right for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)
    ]
    names = {c.value for c in joined if isinstance(c, ast.Constant)}
    return [f"{path.name}: {name}" for name in sorted(names & NAMES)]


def test_no_other_module_of_the_node_spells_these_names() -> None:
    modules = [p for p in (ROOT / "node").rglob("*.py") if p.name != "layout.py"]
    assert [line for p in modules for line in _joined_names(p)] == []
