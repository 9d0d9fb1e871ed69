"""The history of the self-test: one JSON line per run, in a file that the journal knows nothing of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from node.durable import append_durably, private_folder
from node.store.layout import StateDirectory

HISTORY: Final = "history.jsonl"
Outcome = Literal["passed", "drifted", "failed"]
"""drifted: values differ from those of the first run. failed: no result, or not the truth."""


@dataclass(frozen=True, slots=True)
class SelftestRow:
    """One run. at: seconds since 1970. values_mm: by name, None where refused. volumes_ml: by structure.

    drift_mm: largest difference of a value from that of the first run; None for the first. error_mm: largest
    difference from the truth. reference: whether later runs of this bundle are compared with this one.
    """

    at: float
    outcome: Outcome
    reason: str
    bundle: str
    digest: str
    engine: str
    software: str
    study: str
    values_mm: Mapping[str, float | None] = field(default_factory=dict)
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    drift_mm: float | None = None
    error_mm: float | None = None
    cpu_s: float = 0.0
    reference: bool = False


def history_path(state: Path) -> Path:
    """Return where the history of a node is."""
    return StateDirectory(state).selftest / HISTORY


def read_history(state: Path) -> tuple[SelftestRow, ...]:
    """Return every run, oldest first; lines that a kill or another program left are passed over."""
    try:
        lines = history_path(state).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    rows = (_row(line) for line in lines)
    return tuple(row for row in rows if row is not None)


def append_row(state: Path, row: SelftestRow) -> None:
    """Add a run, durably; a line that a kill left unfinished is ended first."""
    path = history_path(state)
    private_folder(path.parent)
    line = json.dumps(asdict(row), ensure_ascii=False) + "\n"
    append_durably(path, (line if _ends_with_line(path) else "\n" + line).encode())


def reference_of(rows: Sequence[SelftestRow], like: SelftestRow) -> SelftestRow | None:
    """Return the newest reference of this bundle, engine and study."""
    same = (
        r
        for r in reversed(rows)
        if r.reference and (r.digest, r.engine, r.study) == (like.digest, like.engine, like.study)
    )
    return next(same, None)


def _ends_with_line(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                return True
            file.seek(-1, 2)
            return file.read(1) == b"\n"
    except OSError:
        return True


def _row(line: str) -> SelftestRow | None:
    try:
        row = SelftestRow(**json.loads(line))
        float(row.at)
    except (ValueError, TypeError):
        return None
    return row
