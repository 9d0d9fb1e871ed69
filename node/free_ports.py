"""Ports on which a server that is about to start can listen: of the demonstration, the benchmarks and the tests."""

from __future__ import annotations

import random
import socket
import threading
from typing import Final

_LISTENING: Final = range(15_000, 32_000)
"""Below the ports that the kernel gives to connections: none of them takes a port before its server starts, nor
between two lives of a server."""
_given: set[int] = set()
_choosing = threading.Lock()


def free_ports(count: int = 1) -> tuple[int, ...]:
    """Return ports that are free now on every address and that this process has not been given before."""
    found: list[int] = []
    with _choosing:
        while len(found) < count:
            port = random.SystemRandom().choice(_LISTENING)
            if port not in _given and _is_free(port):
                _given.add(port)
                found.append(port)
    return tuple(found)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            # Orthanc listens on every interface, so the port must be free on all of them.
            probe.bind(("", port))
        except OSError:
            return False
    return True
