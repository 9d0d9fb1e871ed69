"""Every module of the product has one purpose and fits in a few screens."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("node", "dicomseg", "model", "cluster", "training")
LONGEST = 300
"""Lines of a module (CONTRIBUTING.md, "Size")."""
LONGER = {
    "node/events.py": 590,  # a table: one class per event of the log
    "node/errors.py": 330,  # a table: one class per reason, drawn as a tree
}
"""Modules that are longer, and how long they may be. Only tables. Shorten one and take it out."""


def test_modules_are_no_longer_than_a_few_screens() -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8").count("\n")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert len(sizes) > 300
    longer = {name: lines for name, lines in sizes.items() if lines > LONGER.get(name, LONGEST)}
    assert not longer, "split them by purpose, as CONTRIBUTING.md asks"
    shorter = [name for name in LONGER if sizes.get(name, 0) <= LONGEST]
    assert not shorter, "take them out of LONGER"
