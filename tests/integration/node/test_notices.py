"""Mail and webhook against servers of this machine: what arrives, what is refused, what is never sent in clear."""

from __future__ import annotations

import email
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.config.notify import NotifyConfig
from node.errors import NoticeUndelivered
from node.notices import mail as mail_module
from node.notices.mail import Mail
from node.notices.text import Message
from node.notices.webhook import Webhook
from tests.support.certificates import Authority, Pair, needs_openssl

MESSAGE = Message("test", "[node] Prüfung", "Zeile 1\n.\nZeile 3 ×\n")


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as smtplib speaks; `server.refuse` is a command that is answered by 550."""

    server: Any

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the encrypted one is not the server's to close

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper().decode()
            self.server.lines.append(line)
            if verb == self.server.refuse:
                self.wfile.write(b"550 patient Smith refused\r\n")
            elif verb == "EHLO":
                offers = b"250-STARTTLS\r\n" if self.server.context else b""
                self.wfile.write(b"250-test\r\n" + offers + b"250 8BITMIME\r\n")
            elif verb == "STARTTLS":
                self.wfile.write(b"220 go\r\n")
                try:
                    link = self.server.context.wrap_socket(self.connection, server_side=True)
                except ssl.SSLError:
                    return
                self.connection, self.rfile, self.wfile = (
                    link,
                    link.makefile("rb"),
                    link.makefile("wb", 0),
                )
                self.server.lines.append(link.version().encode())
            elif verb == "DATA":
                self.wfile.write(b"354 go\r\n")
                content = b""
                while (more := self.rfile.readline()) != b".\r\n":
                    content += more
                self.server.mails.append(content.replace(b"\r\n..", b"\r\n."))
                self.wfile.write(b"250 ok\r\n")
            elif verb == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@contextmanager
def _smtp(refuse: str = "", context: ssl.SSLContext | None = None) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.daemon_threads = True
        server.lines, server.mails, server.refuse = [], [], refuse  # type: ignore[attr-defined]
        server.context = context  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _mail(port: int, **changes: Any) -> Mail:
    values = {"mail_host": "127.0.0.1", "mail_port": port, "mail_starttls": False, "mail_from": "node@a.example",
              "mail_to": ("one@a.example", "two@a.example")}  # fmt: skip
    return Mail(NotifyConfig(**{**values, **changes}))


def test_mail_arrives_with_its_text() -> None:
    with _smtp() as server:
        _mail(server.server_address[1]).send(MESSAGE, 1_700_000_000.0)
    (content,) = server.mails
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert mail["Subject"] == "[node] Prüfung"
    assert mail["To"] == "one@a.example, two@a.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@a.example>")
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text  # type: ignore[attr-defined]
    assert sum(line.startswith(b"rcpt") for line in map(bytes.lower, server.lines)) == 2


def test_server_without_starttls_gets_nothing() -> None:
    with _smtp() as server:
        with pytest.raises(NoticeUndelivered, match="offers no STARTTLS"):
            _mail(server.server_address[1], mail_starttls=True).send(MESSAGE, 0)
        assert server.mails == []
        assert not any(b"MAIL" in line.upper() for line in server.lines)


def _encrypting(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@needs_openssl
def test_mail_goes_encrypted_to_a_server_that_the_machine_trusts(
    authority: Authority, issued: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with _smtp(context=_encrypting(issued("mail"))) as server:
        mail = _mail(server.server_address[1], mail_starttls=True)
        mail.send(MESSAGE, 1_700_000_000.0)
    assert len(server.mails) == 1
    before = server.lines.index(b"TLSv1.3")
    assert not [
        line for line in server.lines[:before] if line.upper().startswith((b"MAIL", b"RCPT"))
    ]


@needs_openssl
def test_a_server_of_an_unknown_authority_gets_nothing_and_is_named(
    stranger_authority: Authority, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with _smtp(context=_encrypting(stranger_authority.issue("mail"))) as server:
        with pytest.raises(
            NoticeUndelivered, match=r"certificate is refused.*update-ca-certificates"
        ):
            _mail(server.server_address[1], mail_starttls=True).send(MESSAGE, 0)
        assert server.mails == []


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_refusal_is_a_code_without_the_words_of_the_server(command: str) -> None:
    with _smtp(command) as server, pytest.raises(NoticeUndelivered) as caught:
        _mail(server.server_address[1]).send(MESSAGE, 0)
    assert "127.0.0.1" in str(caught.value)
    assert "Smith" not in str(caught.value)


def test_silent_server_is_left_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "TIMEOUT_S", 0.3)
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        began = time.monotonic()
        with pytest.raises(NoticeUndelivered, match="check mail_host"):
            _mail(server.server_address[1]).send(MESSAGE, 0)
        assert time.monotonic() - began < 5


@contextmanager
def _http(status: int) -> Iterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    received: list[tuple[dict[str, str], Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((dict(self.headers.items()), json.loads(body)))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received
    server.shutdown()
    server.server_close()


def test_webhook_gets_json_and_its_header(tmp_path: Path) -> None:
    (tmp_path / "header").write_text("X-Token: abc\n")
    with _http(204) as (url, received):
        config = NotifyConfig(webhook=url, webhook_header_file=str(tmp_path / "header"))
        Webhook(config, "node").send(MESSAGE, 5.0)
    ((headers, body),) = received
    assert headers["X-Token"] == "abc"
    assert body == {
        "node": "node",
        "kind": "test",
        "subject": MESSAGE.subject,
        "text": MESSAGE.text,
        "at": 5.0,
    }


@pytest.mark.parametrize("status", [302, 307, 401, 500])
def test_anything_but_success_is_a_failure_and_no_redirection_is_followed(status: int) -> None:
    with _http(status) as (url, received):
        with pytest.raises(NoticeUndelivered, match=f"answered {status}"):
            Webhook(NotifyConfig(webhook=url), "node").send(MESSAGE, 0)
        assert len(received) == 1


def test_path_of_the_webhook_is_a_secret() -> None:
    hook = Webhook(NotifyConfig(webhook="http://127.0.0.1:1/services/T0/s3cret"), "node")
    with pytest.raises(NoticeUndelivered) as caught:
        hook.send(MESSAGE, 0)
    assert "s3cret" not in str(caught.value)


def test_command_says_per_channel_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"

    def write(notify: str) -> None:
        config.write_text(
            f'[node]\nae_title = "N"\nstate = "state"\n[notify]\n{notify}', encoding="utf-8"
        )

    write("")
    assert run(["notify", "test", "-c", str(config)]) == 3
    assert "neither mail_host nor webhook is set" in capsys.readouterr().err
    with _smtp() as server, _http(500) as (url, _):
        port = server.server_address[1]
        write(
            f'mail_host = "127.0.0.1"\nmail_port = {port}\nmail_starttls = false\nmail_from = "a@b.example"\n'
            f'mail_to = ["c@d.example"]\nwebhook = "{url}"\n'
        )
        assert run(["notify", "test", "-c", str(config)]) == 5
    out, err = capsys.readouterr()
    assert out == f"mail: sent to 127.0.0.1:{port}\n"
    assert "answered 500; check address" in err
