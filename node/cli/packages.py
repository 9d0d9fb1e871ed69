"""The four packages of the distribution lie beside each other, or the program does not start."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from node.errors import PackagesApart

PACKAGES: Final = ("dicomseg", "model", "node", "training")


def packages_together(folder: Path) -> None:
    """Check that the four packages lie in one folder: their names are generic.

    pip installs another distribution's `model` over ours without a warning.

    Raises:
        PackagesApart: one is missing or comes from elsewhere.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
        if origin != folder.resolve() / name:
            where = "is missing" if origin is None else f"comes from {origin}"
            raise PackagesApart(
                f"package {name} {where} instead of {folder / name}: another package of this name is "
                "installed here; use a fresh environment"
            )
