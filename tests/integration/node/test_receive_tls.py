"""DICOM TLS in: the right certificate, a wrong one, none, and peers that say nothing."""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from node.config.tls import TlsConfig
from node.receive import association
from node.tls.contexts import client_context
from node.tls.credentials import Credentials
from tests.support.certificates import Authority, Pair, needs_openssl
from tests.support.listening import Listening, callers
from tests.support.mr_series import KEY
from tests.support.senders import needs_dcmtk, storescu

pytestmark = [pytest.mark.servers, needs_openssl]

Issue = Callable[[str], Pair]


@pytest.fixture
def secure(listen: Any, authority: Authority, issued: Issue) -> Callable[..., Listening]:
    """Start a receiver that wants a certificate of the authority."""

    def start(tls: str = "mutual", config: TlsConfig | None = None, **receive: Any) -> Listening:
        credentials = Credentials(config or authority.config(issued("node")))
        started: Listening = listen(credentials=credentials, tls=tls, **receive)
        credentials.log = started.receiver.log
        return started

    return start


def _tls_options(pair: Pair | None, trusted: Authority) -> list[str]:
    own = ["+tla"] if pair is None else ["+tls", str(pair.key), str(pair.certificate)]
    return [*own, "+cf", str(trusted.certificate)]


# ---- DCMTK ---------------------------------------------------------------------------------------


@needs_dcmtk
def test_right_certificate_stores(
    secure: Any, authority: Authority, issued: Issue, tmp_path: Path, write_series: Any
) -> None:
    node = secure()
    paths = write_series(tmp_path / "in")
    sent = storescu(node.port, *_tls_options(issued("scanner"), authority), *map(str, paths))
    assert sent.returncode == 0, sent.stderr
    assert len(node.journal.instances.of_series(KEY)) == len(paths)
    (ended,) = node.wait_for("AssociationEnded")
    assert (ended["stored"], ended["outcome"]) == (len(paths), "released")


@needs_dcmtk
def test_other_certificates_and_none_are_refused_each_with_a_line(
    secure: Any, authority: Authority, stranger_authority: Authority, issued: Issue,
    tmp_path: Path, write_series: Any,
) -> None:  # fmt: skip
    node = secure()
    (path,) = map(str, write_series(tmp_path / "in", slices=1))
    ended = authority.issue("ended", days=-1)
    other = stranger_authority.issue("scanner")
    attempts = [
        (_tls_options(other, authority), "its certificate is refused: unable to get local issuer"),
        (_tls_options(ended, authority), "its certificate is refused: certificate has expired"),
        (_tls_options(None, authority), "it sent no certificate"),
        (_tls_options(issued("scanner"), stranger_authority), "it does not trust the authority"),
        ([], "it does not speak TLS, which [receive] tls requires"),
    ]
    for number, (options, reason) in enumerate(attempts, start=1):
        assert storescu(node.port, *options, path).returncode == 1
        lines = node.wait_for("AssociationRefused", number)
        assert len(lines) == number
        assert reason in lines[-1]["reason"]
    assert node.files() == []
    assert storescu(node.port, *_tls_options(issued("scanner"), authority), path).returncode == 0


def _closed(link: socket.socket) -> bool:
    """Whether the peer closes within the time-out."""
    try:
        while link.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


@needs_dcmtk
def test_server_mode_wants_no_certificate(
    secure: Any, authority: Authority, tmp_path: Path, write_series: Any
) -> None:
    node = secure(tls="server")
    (path,) = map(str, write_series(tmp_path / "in", slices=1))
    assert storescu(node.port, *_tls_options(None, authority), path).returncode == 0
    assert storescu(node.port, path).returncode == 1


def test_tls_on_a_plain_port_is_named(listen: Any, authority: Authority, issued: Issue) -> None:
    node = listen()
    context = client_context(authority.config(issued("scanner")))
    with socket.create_connection(("127.0.0.1", node.port), 8) as link, suppress(OSError):
        context.wrap_socket(link, server_hostname="localhost")
    assert "[receive] tls is off" in node.wait_for("AssociationRefused")[0]["reason"]


@needs_dcmtk
def test_renewed_certificate_serves_without_a_restart(
    secure: Any, authority: Authority, issued: Issue, tmp_path: Path, write_series: Any
) -> None:
    files = TlsConfig(
        certificate=str(tmp_path / "node.crt"), private_key=str(tmp_path / "node.key"),
        trusted=str(authority.certificate),
    )  # fmt: skip

    def put(pair: Pair) -> None:
        Path(files.certificate).write_bytes(pair.certificate.read_bytes())
        Path(files.private_key).write_bytes(pair.key.read_bytes())
        Path(files.private_key).chmod(0o600)

    put(authority.issue("old", days=-1))
    node = secure(config=files)
    (path,) = map(str, write_series(tmp_path / "in", slices=1))
    options = _tls_options(issued("scanner"), authority)
    assert storescu(node.port, *options, path).returncode == 1
    put(issued("renewed"))
    assert node.receiver.credentials.run_once() == 1
    assert storescu(node.port, *options, path).returncode == 0
    assert node.events("CertificatesRenewed") == node.events("CertificatesRenewed")[:1]


@needs_dcmtk
@pytest.mark.parametrize(("name", "code"), [("scanner", 0), ("other-scanner", 1)])
def test_certificate_is_that_of_the_caller(
    secure: Any, authority: Authority, issued: Issue, tmp_path: Path, write_series: Any,
    name: str, code: int,
) -> None:  # fmt: skip
    node = secure(caller=callers("STORESCU", certificate="Scanner"))
    (path,) = map(str, write_series(tmp_path / "in", slices=1))
    sent = storescu(node.port, *_tls_options(issued(name), authority), path)
    assert sent.returncode == code
    if code:
        assert "other-scanner" in node.wait_for("AssociationRefused")[0]["reason"]
        assert "Calling AE Title Not Recognized" in sent.stdout + sent.stderr


# ---- peers that say nothing, or little at a time -------------------------------------------------


@pytest.mark.serial
def test_silent_and_trickling_clients_block_nothing_and_are_ended(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(association, "REQUEST_S", 1.5)
    node = secure()
    silent = [raw_peer(node.port) for _ in range(4)]
    hello = bytes.fromhex("16030102000100")  # the begin of a ClientHello of 512 bytes
    for peer in silent[2:]:
        peer.send(hello)
    began_s = time.monotonic()
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as other:
        other.link = context.wrap_socket(other.link, server_hostname="localhost")
        other.associate()
    assert time.monotonic() - began_s < 1.4
    for _ in range(20):  # one byte now and then does not buy time
        for peer in silent[2:]:
            peer.send(b"\0")
        time.sleep(0.1)
    lines = node.wait_for("AssociationRefused", 4)
    assert {e["reason"] for e in lines} == {
        "no TLS handshake in time",
        "TLS handshake: no complete TLS handshake in time",
    }
    assert time.monotonic() - began_s < 6


def test_silent_clients_count_as_strangers(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    crowd = [raw_peer(node.port) for _ in range(20)]
    lines = node.wait_for("AssociationRefused", 4)
    assert "too many connections without an association request" in lines[0]["reason"]
    assert _closed(crowd[0].link)
    for peer in crowd:
        peer.link.close()


def test_a_client_that_leaves_early_is_no_fault(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    raw_peer(node.port).link.close()
    assert "closed without a byte" in node.wait_for("AssociationRefused", 1)[0]["reason"]
    context = client_context(authority.config(issued("scanner")))
    for abrupt in (True, False):
        with raw_peer(node.port) as peer:
            link = context.wrap_socket(peer.link, server_hostname="localhost")
            if not abrupt:
                with suppress(ssl.SSLError):  # no close_notify comes back
                    link.unwrap()
            link.close()
    for line in node.wait_for("AssociationRefused", 3)[1:]:
        assert line["reason"] == "closed after the TLS handshake without a request"
    assert node.events("StepFailed") == []


def test_connection_that_is_closed_is_seen_although_bytes_wait(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure(max_associations=1, max_associations_per_peer=1, reserved_associations=0)
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()
        began_s = time.monotonic()
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()
    assert time.monotonic() - began_s < 2


def test_stop_ends_an_association_with_its_tls(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()
        assert node.receiver.stop(0.1) == 1
        assert peer.read()[0] == 7  # A-ABORT, through the session that is still intact
    assert node.events("AssociationEnded")[0]["reason"] == "the node stops"


def _client_hello(context: ssl.SSLContext) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_cut_and_garbled_handshakes_end_in_one_line_each_and_nothing_else(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    context = client_context(authority.config(issued("scanner")))
    hello, chance = _client_hello(context), random.Random(1)
    attempts = 24
    for number in range(attempts):
        raw = bytearray(hello[: chance.randrange(1, len(hello))] if number % 2 else hello)
        for _ in range(4 * (number % 3)):
            raw[chance.randrange(1, len(raw))] = chance.randrange(256)
        with raw_peer(node.port, source=f"127.0.0.{2 + number}") as peer:
            peer.send(bytes(raw))
            with suppress(OSError):
                peer.link.shutdown(socket.SHUT_WR)
            assert _closed(peer.link)
    lines = node.wait_for("AssociationRefused", attempts)
    assert len(lines) == attempts
    assert all(line["reason"].startswith("TLS handshake: ") for line in lines)
    assert node.events("StepFailed") == []
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()


def test_garbage_inside_tls_is_treated_as_without(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        assert peer.send(b"GET / HTTP/1.1\r\n\r\n").read()[0] == 7  # A-ABORT
    assert "no PDU begins with 0x47" in node.wait_for("AssociationRefused")[0]["reason"]


def test_damaged_record_ends_the_association_alone(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure()
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()
        socket.socket.send(peer.link, b"\x17\x03\x03\x00\x20" + bytes(32))  # beneath TLS
        with pytest.raises(ssl.SSLError):
            peer.read()
    (line,) = node.wait_for("AssociationEnded")
    assert line["outcome"] == "closed"
    assert "_ssl.c" not in line["reason"]


# ---- rate ----------------------------------------------------------------------------------------


@pytest.mark.serial
@needs_dcmtk
def test_tls_is_no_multiple_of_the_time_without(
    secure: Any, listen: Any, authority: Authority, issued: Issue, tmp_path: Path, write_series: Any
) -> None:
    paths = [str(p) for p in write_series(tmp_path / "in", slices=60)]
    ports = {
        "plain": (listen().port, []),
        "tls": (secure().port, _tls_options(issued("scanner"), authority)),
    }
    ratios = []
    for _ in range(3):
        took_s = {}
        for name, (port, options) in ports.items():
            began_s = time.monotonic()
            assert storescu(port, *options, *paths).returncode == 0
            took_s[name] = time.monotonic() - began_s
        ratios.append(took_s["tls"] / took_s["plain"])
    assert sorted(ratios)[1] < 4, ratios


def test_idle_association_ends_at_its_time_under_tls_too(
    secure: Any, authority: Authority, issued: Issue, raw_peer: Any
) -> None:
    node = secure(idle_seconds=1.2)
    context = client_context(authority.config(issued("scanner")))
    with raw_peer(node.port) as peer:
        peer.link = context.wrap_socket(peer.link, server_hostname="localhost")
        peer.associate()
        began_s = time.monotonic()
        assert peer.read()[0] == 7
        assert 1.0 < time.monotonic() - began_s < 4
    assert "idle_seconds" in node.wait_for("AssociationEnded")[0]["reason"]
