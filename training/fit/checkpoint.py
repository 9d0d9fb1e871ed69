"""Write and read checkpoints that survive a kill at any moment: written aside, synced, then renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from training.errors import CheckpointUnreadable


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that `path` always holds an intact checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain values only, never code.

    Raises:
        CheckpointUnreadable: the file is missing, truncated or of another kind.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = "it does not exist" if not path.exists() else "it is truncated or of another kind"
        raise CheckpointUnreadable(f"{path}: {reason}; delete it to start again") from error
    return state
