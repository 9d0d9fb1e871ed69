"""Unit tests start no process and no server: what does so is slow, or belongs to the integration tier."""

from __future__ import annotations

import socket
import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse processes and listening sockets to every test that is not marked as slow."""
    if request.node.get_closest_marker("slow"):
        return

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("a unit test starts a process or a server; mark it slow or move it")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
