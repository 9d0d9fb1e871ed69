"""Moving things away instead of deleting them."""

from __future__ import annotations

from pathlib import Path

from node.durable import move_durably, private_folder


def move_aside(path: Path, aside: Path) -> Path:
    """Move a file or folder below `aside`, under a name that is free there; returns its new place. Raises OSError."""
    private_folder(aside)
    place, number = aside / path.name, 1
    while place.exists():
        place, number = aside / f"{path.name}.{number}", number + 1
    move_durably(path, place)
    return place
