"""Read `multipart/related` (RFC 2046, RFC 2387) as it comes: no part is held, and no line grows without limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST_HEADERS: Final = 1 << 14
"""Bytes of the headers of one part, and of what comes before the first."""
LONGEST_REST: Final = 1 << 24
"""Bytes of a part that are passed over: of one that is not wanted, or that is too long."""
LONGEST_BOUNDARY: Final = 200
_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)


class MultipartError(Exception):
    """The body is not multipart as it was declared: what is wrong with it."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type declares. Raises `MultipartError`."""
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not boundary or len(boundary) > LONGEST_BOUNDARY or not boundary.isascii():
        raise MultipartError("declares no boundary between the parts of its answer")
    return boundary.encode("ascii")


class Multipart:
    """The parts of one body, in order. chunks: the body's bytes as they come."""

    def __init__(self, chunks: Iterator[bytes], boundary: bytes) -> None:
        self._chunks, self._delimiter = chunks, b"\r\n--" + boundary
        self._buffer, self._ended, self._inside = bytearray(b"\r\n"), False, False

    def next_part(self) -> bool:
        """Move to the next part, passing over what is left of this one; False after the last."""
        if self._ended:
            return False
        passed = 0
        while piece := self.read():
            passed += len(piece)
            if not self._inside and passed > LONGEST_HEADERS:
                raise MultipartError("begins its answer without the boundary that it declares")
            if passed > LONGEST_REST:
                raise MultipartError("sends a part that is far longer than an object may be")
        self._need(len(self._delimiter) + 2)
        after = bytes(self._buffer[len(self._delimiter) : len(self._delimiter) + 2])
        if after == b"--":
            self._ended = True
            return False
        self._pass_headers()
        self._inside = True
        return True

    def read(self) -> bytes:
        """Return the next bytes of this part, b"" at its end. Raises `MultipartError` where the body ends first."""
        while True:
            at = self._buffer.find(self._delimiter)
            ready = at if at >= 0 else len(self._buffer) - len(self._delimiter) + 1
            if ready > 0:
                piece = bytes(self._buffer[:ready])
                del self._buffer[:ready]
                return piece
            if at == 0:
                return b""
            self._more()

    def _pass_headers(self) -> None:
        """Drop the boundary's line and the headers: a part is what its own bytes say."""
        while (end := self._buffer.find(b"\r\n\r\n", len(self._delimiter))) < 0:
            if len(self._buffer) > LONGEST_HEADERS:
                raise MultipartError("sends a part whose headers do not end")
            self._more()
        del self._buffer[: end + 4]

    def _need(self, count: int) -> None:
        while len(self._buffer) < count:
            self._more()

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise MultipartError("ends its answer within a part")
        self._buffer += chunk
