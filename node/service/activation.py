"""The listening socket that systemd opened for the service: sd_listen_fds(3), without a library.

A process without any capability then serves port 104, and connections that come while the service
restarts wait in the socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from node.errors import PortBusy

FIRST_FD = 3
"""The file descriptor of the first socket; systemd's convention."""
_REMEDY: Final = "keep one ListenStream=ADDRESS:PORT in lumbar-node.socket"


def given_listener(environment: MutableMapping[str, str]) -> socket.socket | None:
    """Take the socket that systemd handed over; None without one. Children do not inherit it.

    Raises:
        PortBusy: there is more than one, or it is not a TCP socket that listens.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count.isdigit() or int(count) == 0:
        return None
    if int(count) > 1:
        raise PortBusy(f"systemd handed over {count} sockets and one is served; {_REMEDY}")
    try:
        listener = socket.socket(fileno=FIRST_FD)
    except OSError as error:
        raise PortBusy(f"systemd handed over no socket: {error.strerror}; {_REMEDY}") from error
    if not _listens(listener):
        listener.close()
        raise PortBusy(f"the socket that systemd handed over does not listen; {_REMEDY}")
    listener.set_inheritable(False)
    return listener


def _listens(listener: socket.socket) -> bool:
    families = (socket.AF_INET, socket.AF_INET6)
    if listener.family not in families or listener.type != socket.SOCK_STREAM:
        return False
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
