"""Servers that misbehave by a mood are back on their port when it is still held for a moment."""

from __future__ import annotations

import socket
import threading

import pytest

from node.demo import servers
from tests.fault.peers import Moody
from tests.fault.web import MoodyWeb


@pytest.mark.parametrize("kind", [Moody, MoodyWeb])
def test_server_is_back_although_a_child_process_held_its_port(
    kind: type[Moody] | type[MoodyWeb],
) -> None:
    server = kind()
    with socket.create_server((servers.LOOPBACK, server.port)) as held:
        threading.Timer(0.3, held.close).start()
        server.start()
    try:
        assert servers.listens(server.port)
    finally:
        server.stop()


def test_a_port_that_stays_taken_is_a_fault_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fault.destinations.bound.__defaults__", (0.1,))
    server = MoodyWeb()
    with (
        socket.create_server((servers.LOOPBACK, server.port)),
        pytest.raises(OSError, match="in use"),
    ):
        server.start()
