"""Files as bytes, to send what a fold begins with to a worker, and what it made home again."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def pack(root: Path, names: Iterable[str]) -> bytes:
    """Return files and folders of a folder, by their names in it; what does not exist is left out.

    Hidden files, which are locks, stay.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            if (root / name).exists():
                archive.add(root / name, name, filter=_visible)
    return made.getvalue()


def unpack(data: bytes, root: Path) -> None:
    """Write packed files below a folder. Raises `tarfile.TarError` for one that would lie elsewhere."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(root, filter="data")


def _visible(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(".") else entry
