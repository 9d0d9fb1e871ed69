"""Bound what a source sends over one association: PDUs, answers, silence and time."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

MOST_PDU: Final = 1 << 18
"""Bytes of one PDU; we announce 16 KiB, and an answer to an association request has some kilobytes."""
_LOOK_S: Final = 0.5
_SLACK: Final = 1024
"""Bytes around a message: its command set, and the heads of its PDUs in sixteenths of a kilobyte."""


class Ended(OSError):
    """The node ends the connection: pynetdicom takes it for a lost one, and `Guard.reason` says why."""


@dataclass(slots=True)
class Guard:
    """Reads for one association.

    most: bytes that may have come and not been dealt with. limit_s: longest time of all of it. silent_s: longest
    time without a byte within a PDU. stopped: whether the node ends. reason: why it ended the connection.
    """

    most: int
    limit_s: float
    silent_s: float
    stopped: Callable[[], bool]
    now: Callable[[], float] = time.monotonic
    reason: str = ""
    _waiting: int = 0
    _ends_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._ends_at = self.now() + self.limit_s

    def attach(self, event: Any) -> None:
        """Take the place of pynetdicom's own reading, when a connection opens (`evt.EVT_CONN_OPEN`)."""
        wire = event.assoc.dul.socket
        wire.recv = lambda count: self.read(wire.socket, count)

    def listen(self, peer: Any, silent_s: float) -> None:
        """Let a request wait so long for each answer, and no longer than the node runs."""
        messages = peer.dimse.msg_queue

        def get_msg(block: bool = False) -> Any:
            ends_at = min(self.now() + silent_s, self._ends_at) if block else 0.0
            while self.now() < ends_at and not self.reason and not self.stopped():
                try:
                    return messages.get(
                        timeout=_LOOK_S
                    )  # (None, None) where the connection is lost
                except queue.Empty:
                    continue
            return None, None

        peer.dimse.get_msg = get_msg

    def done(self, size: int) -> None:
        """Count a message of so many bytes as dealt with."""
        self._waiting = max(0, self._waiting - size - size // 1024 * 16 - _SLACK)

    def read(self, link: socket.socket, count: int) -> bytearray:
        """Read exactly so many bytes, fewer where the peer closes. Raises `Ended`."""
        if count > MOST_PDU:
            raise self._ended(f"sends a PDU of {count} bytes")
        buffer, at, heard = bytearray(count), 0, self.now()
        with memoryview(buffer) as view:
            while at < count:
                self._look(heard)
                link.settimeout(_LOOK_S)
                try:
                    size = link.recv_into(view[at:])
                except TimeoutError:
                    continue
                if not size:
                    return buffer[:at]
                at, heard = at + size, self.now()
        self._waiting += count
        if self._waiting > self.most:
            raise self._ended(f"sends more than {self.most // 1_000_000} MB in one go")
        return buffer

    def _look(self, heard: float) -> None:
        now = self.now()
        if self.stopped():
            raise self._ended("was left because the node stops")
        if now > self._ends_at:
            raise self._ended(f"was not ready within {self.limit_s:.0f} s")
        if now - heard > self.silent_s:
            raise self._ended(f"was silent for {self.silent_s:.0f} s within a message")

    def _ended(self, reason: str) -> Ended:
        self.reason = self.reason or reason
        return Ended(reason)
