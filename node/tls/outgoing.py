"""TLS of one outgoing connection, and why it failed, which pynetdicom only logs."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from node.tls.faults import handshake_fault


class ObservedSocket(ssl.SSLSocket):
    """A TLS connection that keeps the fault of its handshake; one of TLS 1.3 may come with the first answer."""

    fault = ""

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake. Raises OSError."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self.fault = handshake_fault(error)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return bytes of the peer. Raises OSError."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self.fault = handshake_fault(error)
            raise


@dataclass(slots=True)
class Outgoing:
    """A context for one connection, whose socket it keeps. context: makes `ObservedSocket`s."""

    context: ssl.SSLContext
    link: ssl.SSLSocket | None = None

    def wrap_socket(
        self, sock: socket.socket, *, server_side: bool, server_hostname: str
    ) -> ssl.SSLSocket:
        """Return the connection as one of TLS, as `SSLContext.wrap_socket` does."""
        self.link = self.context.wrap_socket(
            sock, server_side=server_side, server_hostname=server_hostname
        )
        return self.link

    def close(self) -> None:
        """Close it; pynetdicom leaves one open whose handshake failed, or that the peer closed first."""
        if self.link is not None:
            self.link.close()

    @property
    def fault(self) -> str:
        """What was wrong with TLS, "" if nothing was."""
        return str(getattr(self.link, "fault", ""))
