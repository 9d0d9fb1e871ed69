"""The data set of one message as the limits allow it: in a file for C-STORE, in memory for storage commitment."""

from __future__ import annotations

from typing import Final

from node.errors import DiskFull
from node.receive.limits import Unfinished
from node.store.incoming import Incoming

ENOUGH_BYTES: Final = 1 << 20
"""What a sender may send above the largest object before its association ends: an object a little too
large gets its answer, an endless one does not."""


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


class Gathered(Arrival):
    """A small data set that is held in memory; of a larger one nothing is kept. largest: bytes."""

    def __init__(self, largest: int, unfinished: Unfinished) -> None:
        super().__init__(None, "", largest, unfinished)
        self.content = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Take a piece."""
        self.size += len(fragment)
        if self.size > self._largest:
            self.refusal = f"a data set above {self._largest // 1000} kB"
            self.content.clear()
        else:
            self.content += fragment
