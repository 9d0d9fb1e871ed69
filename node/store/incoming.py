"""One data set on its way to disk: nothing of it is held in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from node.durable import PART, sync_bytes
from node.errors import DiskFull

if TYPE_CHECKING:
    from node.receive.limits import Unfinished

RESERVE_BYTES: Final = 16_000_000
"""Space that objects leave free, so that the journal can be written and results delivered."""
ENOUGH_BYTES: Final = 1 << 20
"""What a sender may send above the largest object before its association ends: an object a little too
large gets its answer, an endless one does not."""
_LOOK_EVERY: Final = 8_000_000
"""Bytes between two looks at the free space."""


class Incoming:
    """An unfinished file: file meta information first, then the data set's bytes as they come.

    Until the spool keeps it, it is named by chance and ends in `.part`; `discard` removes it.
    """

    def __init__(self, folder: Path, meta: bytes) -> None:
        """Begin the file. Raises `DiskFull` and OSError."""
        self.path = folder / f"{os.urandom(8).hex()}{PART}"
        self.size, self._meta, self._digest = 0, len(meta), hashlib.sha256()
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

    def discard(self) -> None:
        """Close and remove the file, unless it was kept; twice is no error."""
        self.close()
        self.path.unlink(missing_ok=True)


class Arrival:
    """The data set of one C-STORE as the limits allow it: kept, or counted and dropped.

    incoming: None where the file could not be begun; `refusal` says why.
    """

    def __init__(
        self, incoming: Incoming | None, refusal: str, largest: int, unfinished: Unfinished
    ) -> None:
        self.incoming, self.refusal, self.size = incoming, refusal, 0
        self._largest, self._unfinished, self._counted = largest, unfinished, 0

    def write(self, fragment: memoryview) -> None:
        """Take a piece; what is above a limit, or cannot be written, is the refusal."""
        self.size += len(fragment)
        if self.refusal or self.incoming is None:
            return
        if self.size > self._largest:
            self._refuse(f"object above {self._largest // 1_000_000} MB, [receive] max_object_mb")
        elif not self._unfinished.take(len(fragment)):
            self._refuse("too many unfinished bytes of all senders, [receive] max_unfinished_mb")
        else:
            self._counted += len(fragment)
            self._append(fragment)

    @property
    def too_long(self) -> bool:
        """Whether it is so far above the largest object that waiting for its end would be waste."""
        return self.size > self._largest + ENOUGH_BYTES

    def _append(self, fragment: memoryview) -> None:
        try:
            if self.incoming is not None:
                self.incoming.write(fragment)
        except OSError as error:
            self._refuse(error.strerror or str(error))
        except DiskFull as error:
            self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        self.close()

    def close(self) -> None:
        """Remove what was not kept, and give its bytes back to the total."""
        if self.incoming is not None:
            self.incoming.discard()
        self._unfinished.release_claim(self._counted)
        self._counted = 0
