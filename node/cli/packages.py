"""The four packages of the distribution lie beside each other, or the program does not start."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from node.errors import PackagesApart

PACKAGES: Final = ("dicomseg", "model", "node", "training")


def packages_together(here: Path) -> None:
    """Check that the four packages lie in one folder. Raises `PackagesApart`.

    Their names are generic; pip installs another distribution's `model` over ours without a word.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
        if found != here.resolve() / name:
            where = "is missing" if found is None else f"comes from {found}"
            raise PackagesApart(
                f"package {name} {where} instead of {here / name}: another package of this name is "
                "installed here; use a fresh environment"
            )
