"""Bytes of the result folders, measured a few folders at a time: they are never changed, only added and removed."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAX_FOLDERS: Final = 100
"""Folders that one look measures: about a thousand files, some milliseconds."""


@dataclass(slots=True)
class ResultSizes:
    """Sizes by folder; one thread at a time."""

    root: Path
    _sizes: dict[str, int] = field(default_factory=dict)

    def look(self) -> int | None:
        """Measure what is new and forget what is gone; returns all bytes, None while folders are left to measure."""
        try:
            names = {name for name in os.listdir(self.root) if not name.startswith(".")}  # noqa: PTH208 - names only
        except OSError:
            return 0
        for name in self._sizes.keys() - names:
            del self._sizes[name]
        new = sorted(names - self._sizes.keys())
        for name in new[:MAX_FOLDERS]:
            self._sizes[name] = folder_bytes(self.root / name)
        return sum(self._sizes.values()) if len(new) <= MAX_FOLDERS else None

    def of(self, folder: Path) -> int:
        """Return the bytes of one folder; measured now if it was not yet."""
        return self._sizes[folder.name] if folder.name in self._sizes else folder_bytes(folder)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder, 0 where there is none."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(Path(parent, name)).st_size
    return size
