"""Ports for servers that are about to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node import free_ports as module
from node.free_ports import free_ports


def test_ports_are_free_new_and_never_those_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_given", set())
    monkeypatch.setattr(module, "_is_free", lambda port: port != 20_002)
    monkeypatch.setattr(module, "_is_taken_down", lambda _: True)
    with monkeypatch.context() as narrow:
        narrow.setattr(module, "_LISTENING", range(20_000, 20_004))
        assert sorted((*free_ports(2), *free_ports())) == [20_000, 20_001, 20_003]
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(module._LISTENING) < lowest


OTHER = """
import sys
from node import free_ports as module
print(*module.free_ports(), module._is_taken_down(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_a_port_is_given_to_one_process_until_that_ends() -> None:
    (ours,) = free_ports()
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(ours)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:  # fmt: skip
        assert other.stdout
        theirs, taken = other.stdout.readline().split()
        assert taken == "False"
        assert not module._is_taken_down(int(theirs))
        other.communicate("")
    assert module._is_taken_down(int(theirs))
