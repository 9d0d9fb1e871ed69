"""Sockets: which one listens, and why there may be none; whether a peer has closed its own."""

from __future__ import annotations

import errno
import select
import socket
from typing import Final

from node.errors import PortBusy

BACKLOG: Final = 64
_CLOSED_BY_PEER: Final = getattr(select, "POLLRDHUP", select.POLLHUP)
"""Linux reports a half-closed connection; other systems a closed one."""


def why_not_listening(host: str, port: int, error: OSError) -> str:
    """Return why the node cannot listen, and what to do."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        remedy = 'set [node] host to an address of this machine, or "0.0.0.0" for all'
    elif error.errno == errno.EACCES:
        remedy = (
            "ports below 1024 need a right: give the service CAP_NET_BIND_SERVICE, or set [node] port"
            " to 11112 and the same at the sender"
        )
    else:
        remedy = "stop the program that uses it or set another [node] port"
    return f"cannot listen on {host}:{port}: {error.strerror}; {remedy}"


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens; "::" is both families. Raises `PortBusy`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual_stack = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual_stack
        )
    except OSError as error:
        raise PortBusy(why_not_listening(host, port, error)) from error


def is_readable(link: socket.socket, wait_s: float) -> bool:
    """Return whether bytes of the peer, or its end, have come within this time."""
    pending = getattr(link, "pending", None)
    if pending is not None and pending():
        return True  # decrypted already, so that the socket itself has nothing more
    try:
        waiting = select.poll()
        waiting.register(link, select.POLLIN | _CLOSED_BY_PEER)
        return bool(waiting.poll(wait_s * 1000))
    except (OSError, ValueError):
        return True


def is_closed(link: socket.socket) -> bool:
    """Return whether the peer has closed a connection, even if it sent something before."""
    try:
        waiting = select.poll()
        waiting.register(link, _CLOSED_BY_PEER)
        return bool(waiting.poll(0))
    except (OSError, ValueError):
        return True  # closed here already
