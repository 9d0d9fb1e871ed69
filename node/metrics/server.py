"""A small HTTP server for monitoring: GET of a few paths, everything bounded.

Python's `http.server` parses and answers; what a stranger can make it hold is bounded here: connections,
bytes of a request's head, seconds until its last byte and until the answer is taken. One request per connection.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from node.errors import PortBusy, SecretUnusable
from node.metrics.login import CHALLENGE, Login

MAX_CONNECTIONS: Final = 8
"""Connections at the same time; Prometheus and a load balancer need two. A further one is closed."""
MAX_HEAD: Final = 8192
"""Bytes of request line and headers."""
HEAD_S: Final = 5.0
"""Seconds from the connection to the last byte of the head."""
ANSWER_S: Final = 10.0
"""Seconds in which a client takes the answer."""
_END: Final = b"\r\n\r\n"
_ANY_END: Final = (_END, b"\n\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, media type and text of an answer."""

    status: HTTPStatus
    kind: str
    text: str


Pages = Mapping[str, Callable[[], Answer]]
"""What is answered, by path. A function that raises answers 500 without a word of the error."""


class MetricsServer(ThreadingHTTPServer):
    """The server; `close` ends it. login: None admits every client that reaches the address."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(
        self,
        address: tuple[str, int],
        pages: Pages,
        login: Login | None = None,
        complain: Callable[[Exception], None] = lambda _: None,
        after: Callable[[], None] = lambda: None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Listen. complain: hears a fault of a page or of the login. after: runs at the end of a request's thread.

        tls: the context for a new connection; None serves without TLS.

        Raises:
            PortBusy: the address is taken or is none of this machine.
        """
        self.pages, self.login, self.complain, self._after = pages, login, complain, after
        self._tls = tls
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortBusy(
                f"[metrics] {address[0]}:{address[1]}: {reason}; configure another host or port"
            ) from error

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without asking the name service for the host's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Take no more connections; what is being answered ends with its thread."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if one of the few is free."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the machine gives no more threads
            self._slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request."""
        try:
            super().process_request_thread(self._wrapped(request), client_address)
        finally:
            self._slots.release()
            self._after()

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        """Return the connection as the handler reads it; the handshake is the handler's, within its time limit."""
        if self._tls is None:
            return connection
        try:
            return self._tls().wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        except Exception as error:
            connection.close()
            self.complain(error)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away or sends nonsense is no event."""


class _Handler(BaseHTTPRequestHandler):
    """One request: its head is read with a deadline, then parsed by the library from memory."""

    server: MetricsServer
    protocol_version = "HTTP/1.0"
    server_version, sys_version = "lumbar-node", ""
    _status: HTTPStatus | None = None

    def setup(self) -> None:
        """Read the head before anything is parsed."""
        super().setup()
        ends_at = time.monotonic() + HEAD_S
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.settimeout(HEAD_S)
            self.connection.do_handshake()
        head = _read_head(self.connection, ends_at)
        if len(head) > MAX_HEAD:
            self._status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            head = b"GET / HTTP/1.0\r\n\r\n"
        self.rfile.close()
        self.rfile = io.BytesIO(head)
        self.connection.settimeout(ANSWER_S)

    def do_GET(self) -> None:
        """Answer GET."""
        self._reply(self._answer(), body=True)

    def do_HEAD(self) -> None:
        """Answer HEAD: the headers of GET."""
        self._reply(self._answer(), body=False)

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Answer a request that the library refuses, without a word of it."""
        self._reply(_plain(HTTPStatus(code)), body=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: what a stranger writes is not for the log."""

    def _answer(self) -> Answer:
        if self._status is not None:
            return _plain(self._status)
        try:
            if self.server.login and not self.server.login.admits(
                self.headers.get("Authorization", "")
            ):
                return _plain(HTTPStatus.UNAUTHORIZED)
            page = self.server.pages.get(self.path.partition("?")[0])
            return _plain(HTTPStatus.NOT_FOUND) if page is None else page()
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this request, no other
            self.server.complain(error)
            denied = isinstance(error, SecretUnusable)
            return _plain(
                HTTPStatus.SERVICE_UNAVAILABLE if denied else HTTPStatus.INTERNAL_SERVER_ERROR
            )

    def _reply(self, answer: Answer, *, body: bool) -> None:
        content = answer.text.encode()
        self.send_response_only(answer.status)
        if answer.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", CHALLENGE)
        for name, value in (
            ("Content-Type", answer.kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"), ("Connection", "close"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)
        self.close_connection = True


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n")


def _read_head(connection: socket.socket, ends_at: float) -> bytes:
    """Read up to the empty line; "" where it does not come in time, more than `MAX_HEAD` where it is too long."""
    head = bytearray()
    with suppress(OSError):
        while len(head) <= MAX_HEAD and not any(end in head for end in _ANY_END):
            left = ends_at - time.monotonic()
            if left <= 0:
                return b""
            connection.settimeout(left)
            received = connection.recv(MAX_HEAD + 1 - len(head))
            if not received:
                return b""
            head += received
        return bytes(head)
    return b""
