"""Ports for servers that are about to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import free_ports as module
from node.free_ports import free_ports


def test_ports_are_free_new_and_never_those_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_given", set())
    monkeypatch.setattr(module, "_is_free", lambda port: port != 20_002)
    with monkeypatch.context() as narrow:
        narrow.setattr(module, "_LISTENING", range(20_000, 20_004))
        assert sorted((*free_ports(2), *free_ports())) == [20_000, 20_001, 20_003]
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(module._LISTENING) < lowest
