"""The curve of a run: one line of JSON per report, for pages that show how a training goes.

`{"step", "loss", "learning_rate", "seconds"}`, and after a validation `validation_loss` and `dice` by structure. A run
that resumes writes the steps since its checkpoint again: of two lines with one step the later one counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CURVE: Final = "curve.jsonl"
DIGITS: Final = 6


def append(file: Path, values: Mapping[str, Any]) -> None:
    """Add one line; a value that is not finite, which JSON cannot hold, becomes null."""
    line = json.dumps({key: _plain(value) for key, value in values.items()}, allow_nan=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as out:
        # A line that a kill or a full disk cut short must not swallow this one.
        if out.tell() and not _ends_with_newline(file):
            out.write(b"\n")
        out.write(line.encode("utf-8") + b"\n")


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as kept:
        kept.seek(-1, 2)
        return kept.read(1) == b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
