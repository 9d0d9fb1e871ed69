"""TLS of one incoming connection: its handshake in the connection's own thread, and its end."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from node.receive.message import AssociationEnd
from node.tls.faults import handshake_fault

HANDSHAKE: Final = 0x16
"""First byte of a TLS connection: the content type of its records (RFC 8446 section 5.1)."""
_SHORTEST_S: Final = 0.001


def secured(link: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return the connection as one of TLS, its handshake still to come. Raises OSError when the peer is gone."""
    return context.wrap_socket(link, server_side=True, do_handshake_on_connect=False)


def handshake(link: ssl.SSLSocket, left_s: Callable[[], float]) -> frozenset[str]:
    """Do the handshake in the time that is left; returns the names in the peer's certificate, in lower case.

    Raises:
        AssociationEnd: it failed; the reason says why.
    """
    link.settimeout(max(left_s(), _SHORTEST_S))
    try:
        # Beneath the TLS layer, whose own error for other first bytes says little.
        first = socket.socket.recv(link, 1, socket.MSG_PEEK)
    except TimeoutError:
        raise AssociationEnd("aborted", "no TLS handshake in time") from None
    if not first:
        raise AssociationEnd("closed", "")
    if first[0] != HANDSHAKE:
        raise AssociationEnd("aborted", "it does not speak TLS, which [receive] tls requires")
    link.settimeout(max(left_s(), _SHORTEST_S))
    try:
        link.do_handshake()
    except OSError as error:
        raise AssociationEnd("aborted", f"TLS handshake: {handshake_fault(error)}") from None
    return certificate_names(link.getpeercert() or {})


def link_fault(error: OSError) -> str:
    """Return why a connection broke, in words."""
    is_tls = isinstance(error, ssl.SSLError)
    return handshake_fault(error) if is_tls else error.strerror or type(error).__name__


def certificate_names(certificate: dict[str, Any]) -> frozenset[str]:
    """Return the common name and DNS names of a certificate as `ssl` decodes it, in lower case."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    names += [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return frozenset(str(name).lower() for name in names)


def stop_reading(link: socket.socket) -> None:
    """Wake up the thread that reads, from any other; what is to be sent can still be sent.

    `SSLSocket.shutdown` would drop the TLS layer under the thread that uses it.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(link, socket.SHUT_RD)


def stop_writing(link: socket.socket) -> None:
    """Say that nothing more comes: close_notify where there is TLS. Raises OSError."""
    if isinstance(link, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            link.unwrap()
    socket.socket.shutdown(link, socket.SHUT_WR)
