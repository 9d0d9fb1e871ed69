"""What a new Python has imported after one module: the linter is blind to what packages import in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Set
from functools import cache

LOOK = """
import importlib, sys
for line in sys.argv[2:]:
    for module in line.split(", "):
        importlib.import_module(module)
    print(*(set(sys.argv[1].split()) & sys.modules.keys()))
"""


def imported(modules: str, absent: Mapping[str, Set[str]]) -> set[str]:
    """Return which of the packages that `absent` names for `modules` are there once these are imported.

    One Python imports all modules that must not import the same packages, one after the other: the first that
    imports one, and those after it, have it.
    """
    alike = tuple(m for m, names in absent.items() if names == absent[modules])
    return set(_in_one_process(alike, frozenset(absent[modules]))[modules])


@cache
def _in_one_process(modules: tuple[str, ...], names: frozenset[str]) -> Mapping[str, list[str]]:
    run = subprocess.run(
        [sys.executable, "-c", LOOK, " ".join(names), *modules],
        capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    return {m: line.split() for m, line in zip(modules, run.stdout.splitlines(), strict=True)}
