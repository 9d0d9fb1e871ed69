"""The bytes of a received data set, plain or inflated piece by piece, up to a limit."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Final, Protocol

_PIECE: Final = 1 << 18
"""Bytes that are read or inflated at a time."""


class Broken(Exception):
    """The data set ends or contradicts itself."""


class ByteSource(Protocol):
    """The bytes of a data set, from its first on. Raises `Broken` where they end too early."""

    def first(self) -> bytes:
        """Return the first eight bytes without taking them."""
        ...

    def read(self, count: int) -> bytes:
        """Take bytes."""
        ...

    def skip(self, count: int) -> None:
        """Step over bytes."""
        ...

    def at(self) -> int:
        """Return the offset of the next byte."""
        ...

    def tail(self) -> bytes | None:
        """Return the last bytes when there are fewer than an element has, else None."""
        ...


class PlainBytes:
    """A data set as it is encoded. size: its bytes from the file's position on."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left, self._size = file, size, size

    def first(self) -> bytes:
        """Return the first eight bytes without taking them."""
        raw = self._file.read(min(8, self._left))
        self._file.seek(-len(raw), 1)
        return raw

    def read(self, count: int) -> bytes:
        """Take bytes."""
        if count > self._left:
            raise Broken(f"{count} bytes of a header, {self._left} are there")
        self._left -= count
        return self._file.read(count)

    def skip(self, count: int) -> None:
        """Step over bytes."""
        if count > self._left:
            raise Broken(f"a value of {count} bytes, {self._left} are there")
        self._left -= count
        self._file.seek(count, 1)

    def at(self) -> int:
        """Return the offset of the next byte."""
        return self._size - self._left

    def tail(self) -> bytes | None:
        """Return the last bytes when there are fewer than an element has, else None."""
        return self._file.read(self._left) if self._left < 8 else None


class InflatedBytes:
    """A deflated data set. limit: the most bytes it may inflate to."""

    def __init__(self, file: BinaryIO, size: int, limit: int) -> None:
        self._file, self._left, self._limit = file, size, limit
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ready, self._next, self._total = b"", 0, 0

    def first(self) -> bytes:
        """Return the first eight bytes without taking them."""
        self._fill(8)
        return self._ready[:8]

    def read(self, count: int) -> bytes:
        """Take bytes."""
        ready = self._fill(count)
        if count > ready:
            raise Broken(f"{count} bytes of a header, {ready} are there")
        self._next += count
        return self._ready[self._next - count : self._next]

    def skip(self, count: int) -> None:
        """Step over bytes, inflating them."""
        self._check(count - len(self._ready) + self._next)
        while (lack := count - len(self._ready) + self._next) > 0:
            self._next = len(self._ready)
            if not self._more():
                raise Broken(f"{lack} bytes of a value are missing")
            count = lack
        self._next += count

    def at(self) -> int:
        """Return the offset of the next byte when inflated."""
        return self._total - len(self._ready) + self._next

    def tail(self) -> bytes | None:
        """Return the last bytes when there are fewer than an element has, else None."""
        return self._ready[self._next :] if self._fill(8) < 8 else None

    def _fill(self, count: int) -> int:
        """Inflate until this many bytes are ready, or all; returns how many are."""
        while len(self._ready) - self._next < count and self._more():
            pass
        return len(self._ready) - self._next

    def _more(self) -> bool:
        """Inflate another piece; False at the end of the stream."""
        while not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or self._read()
            try:
                piece = self._inflate.decompress(raw, _PIECE)
            except zlib.error:
                raise Broken("the deflate stream is damaged") from None
            if piece:
                self._ready, self._next = self._ready[self._next :] + piece, 0
                self._total += len(piece)
                self._check(0)
                return True
            if not raw:
                raise Broken("the deflate stream is cut off")
        return False

    def _read(self) -> bytes:
        raw = self._file.read(min(_PIECE, self._left))
        self._left -= len(raw)
        return raw

    def _check(self, count: int) -> None:
        if self._total + count > self._limit:
            raise Broken(
                f"it inflates to more than {self._limit // 1_000_000} MB, [receive] max_object_mb"
            )
