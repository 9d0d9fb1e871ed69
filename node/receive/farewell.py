"""The last word to a peer, and the wait until it has closed the connection."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from node.receive.tls import stop_writing

LINGER_S: Final = 0.5
"""Time for the peer to close after the last PDU, and again to read it before it is closed here."""
_DRAIN: Final = 1 << 16


def farewell(link: socket.socket, last: bytes) -> None:
    """Send the last word and leave the closing to the peer (PS3.8 section 9.2, state 13), for a while.

    Closing on unread bytes would take the last word back, and some senders take a connection that
    closes behind a rejection for a broken one.
    """
    with contextlib.suppress(OSError):
        link.settimeout(LINGER_S)
        link.sendall(last)
        if not _drained(link):
            stop_writing(link)
            _drained(link)


def _drained(link: socket.socket) -> bool:
    """Throw away what still comes; whether the peer has closed in time."""
    ends_at = time.monotonic() + LINGER_S
    with contextlib.suppress(TimeoutError):
        while (left := ends_at - time.monotonic()) > 0:
            link.settimeout(left)
            if not link.recv(_DRAIN):
                return True
    return False
