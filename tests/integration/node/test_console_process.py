"""The console's own process: TLS with a certificate that is renewed, and clients that no browser is."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from node.console import deadline
from node.console.process import LONGEST_HEAD
from node.console.users import Role, User, Users
from node.free_ports import free_ports
from node.journal.journal import Journal
from tests.support.certificates import Authority, needs_openssl
from tests.support.consoles import HASH, PASSWORD

pytestmark = pytest.mark.timeout(180)

HOSTILE: Final = "<script>alert(1)</script>\u202egnp.exe\0\x1b[2J"
Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path, facts: Any, clock: Any) -> Iterator[Start]:
    """Start a console over a small journal, with further lines of the configuration; returns its port."""
    running: list[subprocess.Popen[bytes]] = []
    state = tmp_path / "state"

    def begin(web: str = "", more: str = "") -> int:
        journal = Journal.open(state / "journal.sqlite", clock)
        journal.instances.add(facts(1, calling_ae="MR<b>1\u202e"))
        journal.close()
        for role in Role:
            Users(state / "users.json").put(User(role, role, HASH))
        (port,) = free_ports(1)
        config = tmp_path / "config.toml"
        config.write_text(
            f'[node]\nae_title = "NODE"\nstate = "{state}"\n[web]\nport = {port}\n{web}\n{more}\n', encoding="utf-8"
        )  # fmt: skip
        with (tmp_path / "console.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "node.console.process", "--config", str(config)],
                stdin=subprocess.PIPE, stderr=log, env=dict(os.environ),
            )  # fmt: skip
        running.append(process)
        ends_at = time.monotonic() + 60
        while True:
            assert process.poll() is None, (tmp_path / "console.log").read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return port
            assert time.monotonic() < ends_at
            time.sleep(0.1)

    yield begin
    for process in running:
        assert process.poll() is None, "the console ended before its time"
        if process.stdin is not None:
            process.stdin.close()
        process.wait(30)


# ---- TLS -----------------------------------------------------------------------------------------


def _serial(port: int, trust: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), 10) as link,
        trust.wrap_socket(link, server_hostname="localhost") as secured,
    ):
        return str(secured.getpeercert()["serialNumber"])  # type: ignore[index]


@needs_openssl
def test_over_tls_with_a_certificate_that_is_renewed_without_a_restart(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost-2")
    used = tmp_path / "used"
    used.mkdir()

    def put(pair: Any) -> None:
        for source, name in ((pair.certificate, "pem"), (pair.key, "key")):
            (used / f"new.{name}").write_bytes(source.read_bytes())
            (used / f"new.{name}").chmod(0o600)
            (used / f"new.{name}").replace(used / f"node.{name}")

    put(first)
    tls = f'[tls]\ncertificate = "{used / "node.pem"}"\nprivate_key = "{used / "node.key"}"\n'
    port = start("tls = true", tls)
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    address = f"https://localhost:{port}"
    with httpx.Client(base_url=address, verify=trust, headers={"origin": address}) as client:
        page = client.get("/login")
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        answer = client.post("/login", data={"name": "viewer", "password": PASSWORD})
        assert answer.headers["set-cookie"].startswith("__Host-lumbar-node=")
        assert "Secure" in answer.headers["set-cookie"]
        before = _serial(port, trust)
        put(second)
        ends_at = time.monotonic() + 40
        while _serial(port, trust) == before:
            assert time.monotonic() < ends_at, "the new certificate is not in use"
            time.sleep(0.5)
        assert client.get("/series").status_code == 200  # the login outlives the renewal
    # Who speaks without TLS gets no page, and costs the others nothing.
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{port}/login", timeout=10)
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(4096)
    # Nor does who trusts another authority.
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/login", timeout=10)
    assert _serial(port, trust) != before


# ---- strange clients -----------------------------------------------------------------------------


def _answer(link: socket.socket) -> bytes:
    """Everything until the connection ends; what was reset is what came before."""
    content = b""
    with suppress(ConnectionResetError, TimeoutError):
        while piece := link.recv(65_536):
            content += piece
    return content


def _is_alive(port: int) -> bool:
    began = time.monotonic()
    answer = httpx.get(f"http://127.0.0.1:{port}/login", timeout=10)
    return answer.status_code == 200 and time.monotonic() - began < 5


def test_requests_that_come_in_drops_end_and_the_others_are_served(start: Start) -> None:
    port = start()
    half = b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    form = (
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 9000\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname="
    )
    links = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(60)]
    began = time.monotonic()
    try:
        for number, link in enumerate(links):
            link.sendall((b"", half, form)[number % 3])
        while time.monotonic() - began < deadline.REQUEST_S + 4:
            for number, link in enumerate(links):
                with suppress(OSError):  # it has ended
                    if number % 3:
                        link.sendall(b"X" if number % 3 == 2 else b"X-Drop: 1\r\n")
            assert _is_alive(port)
            time.sleep(1.0)
        answers = []
        for link in links:
            link.settimeout(5)
            answers.append(_answer(link))
        assert [a[:12] for a in answers if a[:12] not in {b"HTTP/1.1 408", b""}] == []
        # A reset may take the sentence away from who still sends; of the silent ones none loses it.
        assert all(a.endswith(b"the request did not come in time.\n") for a in answers[::3])
    finally:
        for link in links:
            link.close()
    assert _is_alive(port)


@pytest.mark.parametrize(
    ("name", "request_head", "body", "status"),
    [
        ("8 kB of headers", b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * 8_000 + b"\r\n\r\n", 0, b"200"),
        ("headers without end", b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * 3 * LONGEST_HEAD, 0, b"400"),
        ("50 MB", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 50000000\r\n\r\n", 50_000_000, b"413"),
        ("a form without its length", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n", 0, b"413"),
        ("two lengths", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nname=", 0, b"400"),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, 0, b"400"),
        ("NUL in the address", b"GET /series\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 0, b"400"),
        ("a host that is a policy", b"GET /login HTTP/1.1\r\nHost: 127.0.0.1:80; script-src *\r\n\r\n", 0, b"400"),
        ("two hosts", b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", 0, b"400"),
    ],
)  # fmt: skip
def test_each_gets_a_clean_answer(
    start: Start, name: str, request_head: bytes, body: int, status: bytes
) -> None:
    port = start()
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.sendall(request_head)
        content = link.recv(4096) if body else b""
        sent = 0
        with suppress(OSError):  # it is not listened to any more
            while sent < body:
                sent += link.send(b"x" * 65_536)
        with suppress(OSError):
            link.shutdown(socket.SHUT_WR)
        content += _answer(link)
    assert content.split(b" ")[1] == status, (name, content[:200])
    assert b"Traceback" not in content
    assert _is_alive(port)


def test_what_peers_call_themselves_is_text(start: Start, tmp_path: Path) -> None:
    from node.journal.refusals import Refusal

    port = start()
    journal = Journal.writing(tmp_path / "state" / "journal.sqlite", time.time)
    now = time.time()
    journal.refusals.add(
        [
            Refusal(HOSTILE, "10.0.0.5", "association", 7, now, now, f"calling AE title {HOSTILE!r} is in no caller"),
            Refusal("\0" * 16, "::1", "object", 1, now - 9, now - 9, HOSTILE * 20),
            Refusal("", "", "association", 900, now - 99, now - 99, "another"),
        ]
    )  # fmt: skip
    journal.close()
    address = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=address, headers={"origin": address}) as client:
        client.post("/login", data={"name": "viewer", "password": PASSWORD})
        page = client.get("/senders")
    assert page.status_code == 200
    for sign in ("<script>", "MR<b>", "\u202e", "\0", "\x1b"):
        assert sign not in page.text.replace('<script src="/static/console.js" defer></script>', "")
    assert page.text.count("&lt;script&gt;") > 3
    rows = [r for r in page.text.split("<tr")[1:] if 'data-label="Times"' in r]
    assert [r.partition('class="number">')[2].partition("<")[0] for r in rows] == ["7", "1", "900"]
    assert "several" in rows[2]
