"""Syslog (RFC 5424) to a collector: datagrams (RFC 5426), or a stream with counted octets (RFC 6587, RFC 5425)."""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from node.audit.codes import OUTCOMES

FACILITY: Final = 10
"""Security and authorization messages, as PS3.15 A.6 wants."""
MESSAGE_ID: Final = "DICOM+RFC3881"
LARGEST_DATAGRAM: Final = 65_000
TIMEOUT_S: Final = 5.0
ANSWER_S: Final = 0.05
"""How long a refusal of what was just sent is waited for."""
_BOM: Final = b"\xef\xbb\xbf"
_NOT_A_NAME: Final = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Header:
    """What comes before every message. process: its id."""

    host: str
    application: str
    process: int


def syslog_message(header: Header, time: str, outcome: str, number: int, content: bytes) -> bytes:
    """Return one message. time: ISO 8601 in UTC; number: of the entry, as `sequenceId`; content: UTF-8."""
    severity = OUTCOMES.get(outcome, OUTCOMES["major_failure"])[1]
    host, name = _name(header.host, 255), _name(header.application, 48)
    start = (
        f"<{FACILITY * 8 + severity}>1 {time} {host} {name} {header.process} {MESSAGE_ID}"
        f' [meta sequenceId="{number}"] '
    )
    return start.encode("ascii") + _BOM + content


def _name(text: str, longest: int) -> str:
    return _NOT_A_NAME.sub("_", text)[:longest] or "-"


@dataclass(slots=True)
class Collector:
    """Where messages go. protocol: udp, tcp or tls. context: of each new connection by tls.

    Nothing in syslog says that a message arrived: what a collector refuses at once is noticed, what it or
    the network drops is not.
    """

    protocol: str
    host: str
    port: int
    context: Callable[[], ssl.SSLContext] | None = None
    _link: socket.socket | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in their order.

        Raises:
            OSError: the collector cannot be reached or ends the connection; some may have arrived.
        """
        try:
            link = self._connected()
            for message in messages:
                if self.protocol == "udp":
                    link.send(message[:LARGEST_DATAGRAM])
                else:
                    link.sendall(b"%d %s" % (len(message), message))
            self._check(link)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _connected(self) -> socket.socket:
        if self._link is not None:
            self._check(self._link, wait_s=0.0)
            return self._link
        if self.protocol == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM
            )[0]
            link = socket.socket(family, kind, protocol)
            link.connect(address)
        else:
            link = socket.create_connection((self.host, self.port), TIMEOUT_S)
        link.settimeout(TIMEOUT_S)
        self._link = link
        if self.context is not None:
            self._link = self.context().wrap_socket(link, server_hostname=self.host)
        return self._link

    def _check(self, link: socket.socket, wait_s: float = ANSWER_S) -> None:
        """Raise what became of the connection, if the other end refused or closed it."""
        watch = select.poll()
        watch.register(link, select.POLLERR | select.POLLRDHUP)
        if not watch.poll(wait_s * 1000):
            return
        number = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise (
            OSError(number, "the collector refuses messages")
            if number
            else ConnectionResetError("the collector closed the connection")
        )
