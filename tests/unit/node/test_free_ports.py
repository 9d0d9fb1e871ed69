"""Ports for servers that are about to start."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from node import free_ports as module
from node.free_ports import free_ports


def test_ports_are_free_new_and_never_those_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_given", set())
    monkeypatch.setattr(module, "_is_free", lambda port: port != 20_002)
    monkeypatch.setattr(module, "_reserves", lambda _: True)
    with monkeypatch.context() as narrow:
        narrow.setattr(module, "_LISTENING", range(20_000, 20_004))
        assert sorted((*free_ports(2), *free_ports())) == [20_000, 20_001, 20_003]
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(module._LISTENING) < lowest


OTHER = """
import sys
from node import free_ports as module
print(*module.free_ports(), module._reserves(int(sys.argv[1])), flush=True)
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
        assert not module._reserves(int(theirs))
        other.communicate("")
    assert module._reserves(int(theirs))


@pytest.mark.parametrize("book", ["a link", "a folder that is not there"])
def test_without_a_book_ports_are_given_all_the_same(
    book: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "absent"
    if book == "a link":
        folder.mkdir()
        (folder / f"lumbar-node-ports-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(module, "_book", [])
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(module, "_is_free", lambda _: True)
    assert len(free_ports(2)) == 2
    assert not (tmp_path / "elsewhere").exists()


def test_a_book_that_cannot_be_locked_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    monkeypatch.setattr(module, "_is_free", lambda _: True)
    assert len(free_ports(2)) == 2
