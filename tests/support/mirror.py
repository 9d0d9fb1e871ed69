"""Which modules no test names: `python tests/support/mirror.py` renews the list after a module came or went.

A test file of the unit tier is named after its module, in the module's room, or is one of `SUBJECTS`. A
module without such a file that no test imports either is tested only through the modules that call it, and
`tests/unit/indirect.txt` lists it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "tests" / "unit"
LIST: Final = UNIT / "indirect.txt"
PACKAGES: Final = ("node", "dicomseg", "model", "cluster", "training")
SUBJECTS: Final = {
    "tests/unit/dicomseg/measure/test_measure_refusals.py",
    "tests/unit/dicomseg/read/test_strangers.py",
    "tests/unit/node/cli/test_tls.py",
    "tests/unit/node/deliver/test_patience.py",
    "tests/unit/node/deliver/test_proof.py",
    "tests/unit/node/models/test_training_files.py",
    "tests/unit/node/followup/test_delivery.py",
    "tests/unit/support/test_compare_results.py",
    "tests/unit/test_signs.py",
    "tests/unit/test_sizes.py",
    "tests/unit/training/test_monai.py",
}
"""Test files of a subject that several modules share."""


def modules() -> set[str]:
    """List the modules of the five packages by path."""
    paths = (p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    kept = (p for p in paths if p.name not in {"__init__.py", "__main__.py"})
    return {p.relative_to(ROOT).as_posix() for p in kept}


def test_file_of(module: str) -> str:
    """Name the unit test file of a module."""
    path = Path("tests/unit", module)
    return path.with_name(f"test_{path.name}").as_posix()


def unnamed() -> list[str]:
    """List the modules that have no test file of their name and that no test imports."""
    imported = _imported()
    return sorted(
        module
        for module in modules()
        if not (ROOT / test_file_of(module)).exists()
        and module.removesuffix(".py").replace("/", ".") not in imported
    )


def _imported() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                names |= {a.name for a in node.names}
    return names


if __name__ == "__main__":
    LIST.write_text("".join(f"{module}\n" for module in unnamed()), encoding="utf-8")
    sys.stdout.write(f"{len(unnamed())} of {len(modules())} modules are named by no test\n")
