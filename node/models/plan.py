"""What a planned retraining would train on: the cases there are, the new ones, the held-out ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from node.config.schedule import ScheduleConfig
from node.errors import JobStateError
from node.journal.job_rows import JobPlan


def cases_below(data: Path) -> dict[str, str]:
    """Return the digest of each prepared case of a folder, and of the folders directly in it, by its id.

    A case is an `.npz` with its `.json` card; one whose card cannot be read counts by its bytes.
    """
    digests = {}
    for pattern in ("*.json", "*/*.json"):
        for path in data.glob(pattern):
            if path.with_suffix(".npz").exists():
                digests[path.stem] = _digest(path)
    return dict(sorted(digests.items()))


def _digest(card: Path) -> str:
    raw = card.read_bytes()
    try:
        digest = json.loads(raw)["digest"]
    except (ValueError, KeyError, TypeError):
        digest = hashlib.sha256(raw).hexdigest()
    return str(digest)[:12]


def read_held_out(file: Path) -> frozenset[str]:
    """Return the ids of the fixed held-out cases. Raises `JobStateError` when the file cannot be read."""
    try:
        return frozenset(json.loads(file.read_text(encoding="utf-8"))["cases"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobStateError(
            f"{file}: {type(error).__name__}, no list of held-out cases; write it with `lumbar-train held-out`"
        ) from error


def new_cases(now: Mapping[str, str], before: Mapping[str, str], held: frozenset[str]) -> list[str]:
    """Return the ids of cases to train on that came or changed."""
    return [name for name, digest in now.items() if name not in held and before.get(name) != digest]


def build_plan(config: ScheduleConfig) -> JobPlan:
    """Return the plan of the configured retraining. Raises `JobStateError` when data or held-out cases are missing."""
    data = Path(config.data)
    if not config.data or not data.is_dir():
        raise JobStateError(
            f"[training.schedule] data {config.data!r} is no folder of prepared cases"
        )
    read_held_out(Path(config.held_out))
    return JobPlan(
        data=config.data,
        held_out=config.held_out,
        recipe=config.recipe,
        margin=config.margin,
        max_hours=config.max_hours,
        cases=cases_below(data),
    )
