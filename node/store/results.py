"""Result folders on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

RESULT_FILE: Final = "result.json"
"""What a result is made of, its values, and the digest of each file."""


def read_result(folder: Path) -> dict[str, Any]:
    """Return `result.json` of a folder, {} when it is not there or holds anything else."""
    try:
        content = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
