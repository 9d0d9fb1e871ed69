"""Result folders on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

RESULT_FILE: Final = "result.json"
"""What a result is made of, its values, and the digest of each file."""
WITHDRAWAL_FILE: Final = "withdrawal.json"
"""Beside a rejection note: which result it takes back, and why."""


def read_result(folder: Path) -> dict[str, Any]:
    """Return `result.json` of a folder, {} when it is not there or holds anything else."""
    try:
        content = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def withdrawal_bytes(result_id: str, because: str) -> bytes:
    """Return what is written beside a rejection note, for a journal that is made new from files."""
    return (json.dumps({"result": result_id, "because": because}) + "\n").encode()


def read_withdrawals(folder: Path) -> dict[str, str]:
    """Return why each result was taken back, as far as the folders of rejection notes say it."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob(f"*/{WITHDRAWAL_FILE}")):
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            found[str(content.get("result", ""))] = str(content.get("because", ""))
    return found
