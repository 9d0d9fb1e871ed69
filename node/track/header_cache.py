"""Reads every header once: what is in the spool never changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from dicomseg.read import header as headers
from dicomseg.read.instance import Instance
from node.step import frames_in_memory

REMEMBERED: Final = 4096
"""Headers that are kept in memory, a few kilobytes each: those of the studies that arrive now."""


FRAMES_OF_ONE: Final = 8
"""Frames of a multi-frame object that take the memory of one header: each has its own geometry, half a kilobyte."""


def _read_here(path: Path) -> Instance:
    return headers.read_instance(path)


def remembering(
    most: int = REMEMBERED, read: Callable[[Path], Instance] = _read_here
) -> Callable[[Path], Instance]:
    """Return a `read` that reads a file once: what lies in the spool never changes.

    most: headers that are kept, those with many frames counted by `FRAMES_OF_ONE`. For one thread.
    """
    kept: dict[Path, Instance] = {}
    weight = 0

    def remember(path: Path) -> Instance:
        nonlocal weight
        instance = kept.pop(path, None)
        if instance is None:
            instance = read(path)
            weight += _weight(instance)
        kept[path] = instance  # the order is that of use
        while weight > most:
            weight -= _weight(kept.pop(next(iter(kept))))
        return instance

    return remember


def _weight(instance: Instance) -> int:
    return 1 + frames_in_memory(instance) // FRAMES_OF_ONE
