"""What pynetdicom's listener lacks: a time limit inside PDUs, a largest PDU and message, a backlog."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final, cast

from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import evt, transport

MAX_PDU: Final = 131_072
LARGEST_READ: Final = 1 << 20
"""A PDU longer than this is nobody's: the negotiated maximum is 128 kB."""
BACKLOG: Final = 64

TRANSFER_SYNTAXES: Final = (
    ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless, RLELossless,
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian,
    JPEG2000, JPEGLSNearLossless, JPEGExtended12Bit, JPEGBaseline8Bit,
)  # fmt: skip
"""In our order of preference, which decides: explicit first, since implicit loses private VRs; those
that may lose pixels last, so that a sender that offers both does not compress for us."""


class Server(transport.ThreadedAssociationServer):
    """The association server with a time limit on every read and a backlog for bursts."""

    request_queue_size = BACKLOG
    idle_s = 30.0

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one connection; its reads time out, also inside a PDU."""
        accepted, peer = cast("socket.socket", self.socket).accept()
        accepted.settimeout(self.idle_s)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the association's end, logged there; nothing to print."""


class Guard:
    """Stands before a connection's `recv`: no PDU and no message grows without limit in memory."""

    def __init__(self, read: Callable[[int], bytes], limit: int) -> None:
        self._read, self._limit, self._taken = read, limit, 0

    def __call__(self, size: int) -> bytes:
        """Read `size` bytes. Raises OSError above the limits, which ends the association."""
        self._taken += size
        if size > LARGEST_READ or self._taken > self._limit:
            raise OSError(f"PDU of {size} bytes after {self._taken} of one message")
        return self._read(size)

    def begin(self) -> None:
        """Count anew: a message is done."""
        self._taken = 0


def guard(event: evt.Event, largest_message: int) -> None:
    """Put a guard before a connection that has just been opened. Sizes in bytes."""
    wire: Any = event.assoc.dul.socket
    wire.recv = Guard(wire.recv, largest_message + LARGEST_READ)


def message_done(event: evt.Event) -> None:
    """Tell the connection's guard that a message is complete."""
    read = getattr(event.assoc.dul.socket, "recv", None)
    if isinstance(read, Guard):
        read.begin()
