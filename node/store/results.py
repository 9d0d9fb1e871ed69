"""Result folders on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_result(folder: Path) -> dict[str, Any]:
    """`result.json` of a folder, {} when it is not there or holds anything else."""
    try:
        found = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
