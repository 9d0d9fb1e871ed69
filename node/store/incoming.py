"""One data set on its way to disk: nothing of it is held in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from node.durable import PART, sync_bytes
from node.errors import DiskFull

RESERVE_BYTES: Final = 16_000_000
"""Space that objects leave free, so that the journal can be written and results delivered."""
HEAD_BYTES: Final = 1 << 16
"""Bytes of a data set that are held in memory: the header of a classic image has a tenth of it."""
_LOOK_EVERY: Final = 8_000_000
"""Bytes between two looks at the free space."""


class Incoming:
    """An unfinished file: file meta information first, then the data set's bytes as they come.

    Until the spool keeps it, it is named by chance and ends in `.part`; `discard` removes it. head: the first
    bytes of the data set, to be looked at without reading the file.
    """

    def __init__(self, folder: Path, meta: bytes) -> None:
        """Begin the file. Raises `DiskFull` and OSError."""
        self.path = Path(f"{folder}/{os.urandom(8).hex()}{PART}")
        self.size, self._meta, self._digest = 0, len(meta), hashlib.sha256()
        self.head = b""
        self._named = False
        self._folder, self._look_at = folder, _LOOK_EVERY
        self._check_space()
        self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            self._append(meta)
        except OSError:
            self.discard()
            raise

    def write(self, fragment: bytes | memoryview) -> None:
        """Append a piece of the data set. Raises `DiskFull` and OSError."""
        if self.size >= self._look_at:
            self._check_space()
            self._look_at = self.size + _LOOK_EVERY
        self._append(fragment)
        self._digest.update(fragment)
        if self.size < HEAD_BYTES:
            self.head += bytes(fragment[: HEAD_BYTES - self.size])
        self.size += len(fragment)

    def _append(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def _check_space(self) -> None:
        space = os.statvfs(self._folder)
        free = space.f_bavail * space.f_frsize
        if free < RESERVE_BYTES:
            raise DiskFull(f"{free // 1_000_000} MB free on the disk of [node] state")

    @property
    def digest(self) -> str:
        """sha256 of the data set's bytes: the object's identity by content."""
        return self._digest.hexdigest()

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self._meta + self.size

    def data_set(self) -> BinaryIO:
        """Open the data set for reading, from its first byte on."""
        file = self.path.open("rb")
        file.seek(self._meta)
        return file

    def sync(self) -> None:
        """Return when the disk has the bytes. Raises OSError."""
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
