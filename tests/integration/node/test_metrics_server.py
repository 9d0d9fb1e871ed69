"""The HTTP server of monitoring against clients that are slow, many, large or without a login."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest

from node.errors import PortBusy
from node.metrics import server as module
from node.metrics.login import Login
from node.metrics.server import MAX_CONNECTIONS, MAX_HEAD, Answer, MetricsServer
from node.tls.credentials import Credentials
from tests.support.certificates import Authority, needs_openssl

Start = Callable[..., MetricsServer]


def _fail() -> Answer:
    raise RuntimeError("secret of ours")


PAGES = {"/metrics": lambda: Answer(HTTPStatus.OK, "text/plain", "x 1\n"), "/fault": _fail}


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[MetricsServer] = []

    def begin(login: Login | None = None, **more: object) -> MetricsServer:
        server = MetricsServer(("127.0.0.1", 0), PAGES, login, **more)  # type: ignore[arg-type]
        server.start()
        started.append(server)
        return server

    yield begin
    for server in started:
        server.close()


def _ask(
    server: MetricsServer, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def _raw(server: MetricsServer, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(content)
        received = b""
        while more := link.recv(65536):
            received += more
        return received


def test_pages(start: Start) -> None:
    server = start()
    assert _ask(server) == (200, "x 1\n")
    assert _ask(server, "/metrics?x=1") == (200, "x 1\n")
    assert _ask(server, method="HEAD") == (200, "")
    assert _ask(server, "/") == (404, "404 Not Found\n")
    assert _ask(server, "/../../etc/passwd")[0] == 404
    for method in ("POST", "PUT", "DELETE", "TRACE", "CONNECT"):
        assert _ask(server, method=method)[0] == 501


def test_fault_of_a_page_is_heard_and_not_shown(start: Start) -> None:
    heard: list[Exception] = []
    server = start(complain=heard.append)
    assert _ask(server, "/fault") == (500, "500 Internal Server Error\n")
    assert [str(e) for e in heard] == ["secret of ours"]
    assert _ask(server)[0] == 200


def test_login(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("Bearer abc\n")
    server = start(Login(str(secret)))
    assert _ask(server)[0] == 401
    assert _ask(server, Authorization="Bearer other")[0] == 401
    assert _ask(server, "/nothing")[0] == 401
    assert _ask(server, Authorization="Bearer abc") == (200, "x 1\n")
    secret.unlink()
    assert _ask(server, Authorization="Bearer abc")[0] == 503


@pytest.mark.parametrize(
    "content",
    [
        b"GET /metrics HTTP/1.0\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n",
        b"GET /" + b"a" * 3 * MAX_HEAD,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET  \r\n\r\n",
        b"GET /metrics HTTP/1.0\r\n" + b"a:b\r\n" * 300 + b"\r\n",
        b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    ],
    ids=range(9),
)
def test_nonsense_gets_an_error_and_the_next_client_its_answer(
    start: Start, content: bytes
) -> None:
    server = start()
    answer = _raw(server, content)
    assert b"x 1\n" not in answer or b"Content-Length: 9999" in content
    assert b"Traceback" not in answer
    assert _ask(server) == (200, "x 1\n")


def test_large_head_is_refused(start: Start) -> None:
    answer = _raw(start(), b"GET /metrics HTTP/1.0\r\nX: " + b"a" * 2 * MAX_HEAD)
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_trickle_of_bytes_ends_at_the_deadline(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.6)
    server = start()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link, suppress(OSError):
        while time.monotonic() - began < 4:
            link.sendall(b"a")
            time.sleep(0.05)
            with suppress(BlockingIOError):
                link.recv(1, socket.MSG_DONTWAIT)
                break
    assert 0.5 < time.monotonic() - began < 3


def test_many_silent_clients_hold_few_threads_and_go(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_S", 1.0)
    server, before = start(), threading.active_count()
    links = [
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
        for _ in range(MAX_CONNECTIONS + 12)
    ]
    time.sleep(0.3)
    assert threading.active_count() - before <= MAX_CONNECTIONS
    _until_threads_are(before)
    for link in links:
        link.close()
    assert _ask(server) == (200, "x 1\n")


def _until_threads_are(count: int) -> None:
    """Wait until no more threads are left: what held them was ended by the server."""
    ends_at = time.monotonic() + 60
    while threading.active_count() > count:
        assert time.monotonic() < ends_at, "a connection still has its slot"
        time.sleep(0.05)


def test_client_that_reads_nothing_loses_its_slot(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    monkeypatch.setitem(
        PAGES, "/big", lambda: Answer(HTTPStatus.OK, "text/plain", "x" * 50_000_000)
    )
    server, before = start(), threading.active_count()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        _until_threads_are(before)
    assert _ask(server)[0] == 200


def test_taken_port_is_named(start: Start) -> None:
    server = start()
    with pytest.raises(
        PortBusy, match=rf"\[metrics\] 127\.0\.0\.1:{server.port}: Address already in use"
    ):
        MetricsServer(("127.0.0.1", server.port), PAGES)


@needs_openssl
def test_tls_with_the_certificate_of_the_node(start: Start, authority: Authority) -> None:
    credentials = Credentials(authority.config(authority.issue("metrics")))
    server = start(tls=partial(credentials.context, "server"))
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trust)
    connection.request("GET", "/metrics")
    assert connection.getresponse().read() == b"x 1\n"
    connection.close()
    assert b"x 1" not in _raw(server, b"GET /metrics HTTP/1.0\r\n\r\n"), "no answer without TLS"


@needs_openssl
def test_handshake_that_does_not_come_ends_at_the_deadline(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    credentials = Credentials(authority.config(authority.issue("metrics-late")))
    server, before = start(tls=partial(credentials.context, "server")), threading.active_count()
    links = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(4)]
    links[0].sendall(b"\x16\x03\x01")
    _until_threads_are(before)
    for link in links:
        link.close()
