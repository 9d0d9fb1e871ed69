"""The trail reaches a collector: each entry once and in order, also when the collector was away."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from node.audit.collector import Collector
from node.audit.entry import AuditEvent, Entry, Participant
from node.audit.forward import ForwardStep
from node.audit.message import Reporter
from node.audit.trail import Trail
from node.tls.contexts import client_context, server_context
from tests.support.audit_messages import parse
from tests.support.certificates import Authority, Pair, needs_openssl
from tests.support.clock import Clock

pytestmark = pytest.mark.servers
FRAME = re.compile(
    rb'<(\d+)>1 (\S+) (\S+) lumbar-node 7 DICOM\+RFC3881 \[meta sequenceId="(\d+)"\] \xef\xbb\xbf(<\?xml.*)',
    re.DOTALL,
)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(2.0)
        yield opened


def _trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "audit", b"", lambda: 1_795_000_000.0)


def _add(trail: Trail, count: int) -> None:
    who = (Participant("user", user="alice"),)
    trail.append([Entry(1.0, AuditEvent.TRAIL_READ, who) for _ in range(count)])


def _step(trail: Trail, clock: Clock, protocol: str, port: int) -> ForwardStep:
    to = Collector(protocol, "127.0.0.1", port)
    by = Reporter("lumbar-node", "NODE", 7)
    step = ForwardStep(trail, f"{protocol}://127.0.0.1:{port}", to, by, clock)  # type: ignore[arg-type]
    step.begin()
    return step


def _run(step: ForwardStep, clock: Clock) -> int:
    clock.pass_s(1.1)
    return step.run_once()


def _numbers(messages: list[bytes]) -> list[int]:
    found = [FRAME.fullmatch(m) for m in messages]
    assert all(found), messages
    for match in found:
        assert match is not None
        parse(match[5])
    return [int(m[4]) for m in found if m]


def _datagrams(receiver: socket.socket, count: int) -> list[bytes]:
    return [receiver.recv(65_535) for _ in range(count)]


def test_datagrams_carry_each_entry_once(
    tmp_path: Path, clock: Clock, receiver: socket.socket
) -> None:
    trail = _trail(tmp_path)
    _add(trail, 2)  # before there was a collector
    step = _step(trail, clock, "udp", receiver.getsockname()[1])
    assert _run(step, clock) == 0
    _add(trail, 3)
    assert _run(step, clock) == 3
    assert _run(step, clock) == 0
    assert _numbers(_datagrams(receiver, 3)) == [3, 4, 5]
    again = _step(trail, clock, "udp", receiver.getsockname()[1])
    _add(trail, 1)
    _run(again, clock)
    assert _numbers(_datagrams(receiver, 1)) == [6], "another start continues where it was left"


class _Stream:
    """A collector that takes counted octets; it can be away."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.frames: list[bytes] = []
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.links: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            self.links.append(link)
            threading.Thread(target=self._read, args=(link,), daemon=True).start()

    def _read(self, link: socket.socket) -> None:
        if self.tls is not None:
            try:
                link = self.tls.wrap_socket(link, server_side=True)
            except OSError:
                link.close()
                return
        with link, link.makefile("rb") as stream:
            while True:
                digits = b""
                while (sign := stream.read(1)) not in {b" ", b""}:
                    digits += sign
                if not digits:
                    return
                self.frames.append(stream.read(int(digits)))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept() keeps it open
        self.listener.close()
        for link in self.links:
            with suppress(OSError):  # its other end was closed before
                link.shutdown(socket.SHUT_RDWR)


def test_a_stream_that_is_away_delays_and_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    trail, collector = _trail(tmp_path), _Stream()
    step = _step(trail, clock, "tcp", collector.port)
    _add(trail, 2)
    _run(step, clock)
    collector.close()
    _add(trail, 2)
    for _ in range(3):
        with pytest.raises(OSError, match=r"refused|closed the connection"):
            _run(step, clock)
    collector.listener = socket.create_server(("127.0.0.1", collector.port))
    threading.Thread(target=collector._serve, daemon=True).start()
    _add(trail, 1)
    assert _run(step, clock) == 3
    step.close()
    _until(lambda: len(collector.frames) == 5)
    assert _numbers(collector.frames) == [1, 2, 3, 4, 5]
    collector.close()


@needs_openssl
def test_tls_shows_both_certificates_and_sends_nothing_to_a_stranger(
    tmp_path: Path,
    clock: Clock,
    authority: Authority,
    stranger_authority: Authority,
    issued: Callable[[str], Pair],
) -> None:
    node = authority.config(issued("node"))
    trusted = authority.config(issued("collector"))
    stranger = stranger_authority.config(stranger_authority.issue("collector"))
    trail = _trail(tmp_path)
    for config, is_right in ((stranger, False), (trusted, True)):
        collector = _Stream(server_context(config, mutual=True))
        step = _step(trail, clock, "tls", collector.port)
        step.to.context = partial(client_context, node)
        step.to.host = "localhost"
        _add(trail, 2)
        if is_right:
            assert _run(step, clock) == 2
            _until(lambda found=collector: len(found.frames) == 2)  # type: ignore[misc]
            assert _numbers(collector.frames) == [3, 4]
        else:
            with pytest.raises(OSError, match="certificate verify failed"):
                _run(step, clock)
            assert collector.frames == []
        step.to.close()
        collector.close()


def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_a_datagram_that_is_refused_is_sent_again(
    tmp_path: Path, clock: Clock, receiver: socket.socket
) -> None:
    port = receiver.getsockname()[1]
    receiver.close()
    trail = _trail(tmp_path)
    step = _step(trail, clock, "udp", port)
    _add(trail, 1)
    with pytest.raises(OSError, match="refuse"):
        _run(step, clock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", port))
        opened.settimeout(2.0)
        _run(step, clock)
        assert _numbers(_datagrams(opened, 1)) == [1]


def test_a_trail_that_was_cut_goes_on(
    tmp_path: Path, clock: Clock, receiver: socket.socket
) -> None:
    trail = _trail(tmp_path)
    step = _step(trail, clock, "udp", receiver.getsockname()[1])
    _add(trail, 3)
    _run(step, clock)
    (file,) = trail.segments()
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    _add(trail, 1)
    _run(step, clock)
    assert _numbers(_datagrams(receiver, 5)) == [1, 2, 3, 4, 5], "4 says that the trail is damaged"
