"""Versions of the tools, as each of them says it."""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from node.verify.child import run_child
from node.verify.tools import Tool

_PACKAGES: Final = {"dcmqi": "dcmqi", "highdicom": "highdicom", "dicomweb": "dicomweb-client", "validator": "dicom-validator"}  # fmt: skip
"""Columns whose programs come with a Python package."""
_OPTIONS: Final = {"dciodvfy": "-version", "DCMTK": "--version"}
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9a-z]+){1,4}")


def version_of(tool: Tool, program: str) -> str:
    """Return the version of an installed tool, "" where it is not known."""
    if tool.name in _PACKAGES:
        try:
            return version(_PACKAGES[tool.name])
        except PackageNotFoundError:  # built from source
            return ""
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as place:
        said = run_child([program, _OPTIONS[tool.name]], Path(place)).lines
    found = _VERSION.search(said[0]) if said else None
    return found[0] if found else ""
