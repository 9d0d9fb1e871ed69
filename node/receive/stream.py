"""The peer's bytes, read ahead into one buffer: few calls of the system, and each read has its deadline."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable
from typing import Final

from node.receive.limits import Pace
from node.receive.message import AssociationEnd

READ_AHEAD: Final = 1 << 18
"""Bytes of the buffer of an association: a PDU of the size that is announced, and most of the next one."""
_AT_FIRST: Final = 1 << 13
"""The same before there is an association; strangers are many."""
_LOOK_S: Final = 0.5
"""Longest wait of one read under TLS. A plain connection is woken up by closing its half; that would end the
TLS session, so that no A-ABORT could be sent."""


class PeerStream:
    """Bytes of one connection in order. A view that was returned is valid until the next call.

    left_s: seconds until the deadline, asked before each read. late: the end of an association whose deadline is over.
    """

    def __init__(
        self,
        link: socket.socket,
        pace: Pace,
        left_s: Callable[[], float],
        late: Callable[[], AssociationEnd],
    ) -> None:
        self._link, self._pace, self._left_s, self._late = link, pace, left_s, late
        self._buffer = bytearray(_AT_FIRST)
        self._start = self._end = 0
        self._timeout_s = 0.0
        self._longest_s = _LOOK_S if isinstance(link, ssl.SSLSocket) else math.inf

    @property
    def buffered(self) -> int:
        """Number of bytes that were read ahead."""
        return self._end - self._start

    def read_ahead(self) -> None:
        """Make room for more than one PDU: there is an association."""
        self._make_room(READ_AHEAD)

    def peek(self, gone: str) -> int:
        """Return the next byte without taking it; gone: the end's reason where the peer has closed before it."""
        while self._end == self._start:
            self._read(gone)
        return self._buffer[self._start]

    def take(self, count: int, gone: str) -> memoryview:
        """Take bytes, waiting for them. Raises `AssociationEnd` at the deadline, at the peer's end, at ours."""
        if self._start + count > len(self._buffer):
            self._make_room(count)
        while self._end - self._start < count:
            self._read(gone)
        self._start += count
        return memoryview(self._buffer)[self._start - count : self._start]

    def send(self, raw: bytes, within_s: float) -> None:
        """Write bytes; raises `TimeoutError` when the peer does not take them."""
        self._set_timeout(within_s)
        self._link.sendall(raw)

    def _make_room(self, count: int) -> None:
        """Move what is read ahead to the front of a buffer of at least so many bytes."""
        rest = self._buffer[self._start : self._end]
        if count > len(self._buffer):
            self._buffer = bytearray(count)
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _read(self, gone: str) -> None:
        """Read what is there, or wait for it until the deadline."""
        if self._start == self._end:
            self._start = self._end = 0
        left_s = self._left_s()
        if left_s <= 0:
            raise self._late()
        self._set_timeout(min(left_s, self._longest_s))
        self._pace.waits()
        try:
            count = self._link.recv_into(memoryview(self._buffer)[self._end :])
        except TimeoutError:
            self._pace.came(0)
            return  # the bytes that came may have moved the deadline
        if not count:
            raise AssociationEnd("closed", gone)
        self._pace.came(count)
        self._end += count

    def _set_timeout(self, seconds: float) -> None:
        # One call of the system each; a time-out that is a little off is looked at again.
        if not 0.5 * seconds <= self._timeout_s <= 1.05 * seconds:
            self._link.settimeout(seconds)
            self._timeout_s = seconds
