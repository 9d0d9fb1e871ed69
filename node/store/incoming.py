"""One data set on its way to disk: nothing of it is held in memory."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO, Final

from node.durable import PART, begin_to_sync, sync_bytes
from node.errors import DiskFull

RESERVE_BYTES: Final = 16_000_000
"""Space that objects leave free, so that the journal can be written and results delivered."""
HEAD_BYTES: Final = 1 << 16
"""Bytes of a data set that are held in memory: the header of a classic image has a tenth of it."""
_LOOK_EVERY: Final = 8_000_000
"""Bytes, of all objects together, between two looks at the free space."""
_LOOK_AGAIN_S: Final = 0.5
"""Longest time between two looks: others write on the disk, too."""
_AT_A_TIME: Final = 1 << 16
"""Bytes that are handed to the disk while the next are on their way: an object of one image is written by
the time its last byte has come, and the sync waits for little."""


class Room:
    """Looks at the free space of a folder's disk now and then: one call of the system for many small objects."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._left, self._until = folder, 0, 0.0

    def take(self, count: int) -> None:
        """Count bytes that are going to be written. Raises `DiskFull` and OSError."""
        self._left -= (
            count  # threads may lose a count to one another; the reserve is twice what is counted
        )
        if self._left >= 0 and time.monotonic() < self._until:
            return
        space = os.statvfs(self._folder)
        free = space.f_bavail * space.f_frsize
        if free < RESERVE_BYTES:
            raise DiskFull(f"{free // 1_000_000} MB free on the disk of [node] state")
        self._left, self._until = _LOOK_EVERY, time.monotonic() + _LOOK_AGAIN_S


class Incoming:
    """An unfinished file: file meta information first, then the data set's bytes as they come.

    Until the spool keeps it, it is named by chance and ends in `.part`; `discard` removes it. head: the first
    bytes of the data set, to be looked at without reading the file.
    """

    def __init__(self, folder: Path, meta: bytes, room: Room | None = None) -> None:
        """Begin the file. room: shared by the objects of one folder. Raises `DiskFull` and OSError."""
        self.name = f"{folder}/{os.urandom(8).hex()}{PART}"
        self.size, self._meta, self._digest = 0, meta, hashlib.sha256()
        self.head = b""
        self._named = False
        self._room, self._written, self._handed = room or Room(folder), 0, 0
        self._room.take(len(meta))
        self._handle = os.open(self.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)

    @property
    def path(self) -> Path:
        """Where the file is until the spool keeps it."""
        return Path(self.name)

    def write(self, fragment: bytes | memoryview) -> None:
        """Append a piece of the data set. Raises `DiskFull` and OSError."""
        self._room.take(len(fragment))
        self._append(fragment)
        if self._written - self._handed >= _AT_A_TIME:
            begin_to_sync(self._handle, self._handed)
            self._handed = self._written
        self._digest.update(fragment)
        if self.size < HEAD_BYTES:
            self.head += bytes(fragment[: HEAD_BYTES - self.size])
        self.size += len(fragment)

    def _append(self, data: bytes | memoryview) -> None:
        """Append a piece; the first one takes the file meta information along, in one call of the system."""
        pieces = (data,) if self._written else (self._meta, data)
        count = os.writev(self._handle, pieces)
        self._written += count
        if count < sum(map(len, pieces)):
            rest = memoryview(b"".join(pieces))[count:]
            while rest:
                count = os.write(self._handle, rest)
                self._written, rest = self._written + count, rest[count:]

    @property
    def digest(self) -> str:
        """sha256 of the data set's bytes: the object's identity by content."""
        return self._digest.hexdigest()

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return len(self._meta) + self.size

    def data_set(self) -> BinaryIO:
        """Open the data set for reading, from its first byte on."""
        file = self.path.open("rb")
        file.seek(len(self._meta))
        return file

    def sync(self) -> None:
        """Return when the disk has the bytes. Raises OSError."""
        if not self._written:
            self._append(b"")
        sync_bytes(self._handle)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def kept(self) -> None:
        """Take notice that the file has its final name: `discard` only closes it."""
        self._named = True

    def discard(self) -> None:
        """Close and remove the file, unless it was kept; twice is no error."""
        self.close()
        if not self._named:
            self.path.unlink(missing_ok=True)
