"""Unit tests start no process and no server unless they are marked so."""

from __future__ import annotations

import socket
import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse processes and listening sockets to every test that is not marked."""
    if any(request.node.get_closest_marker(m) for m in ("slow", "process", "servers")):
        return

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("a unit test starts a process or a server; mark it (process, slow) or move it")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
