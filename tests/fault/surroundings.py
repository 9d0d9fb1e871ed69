"""What a machine offers, and what it may lack."""

from __future__ import annotations

import random
import socket
import threading
from typing import Final


class NotPossible(Exception):
    """What a scenario needs cannot be had on this machine; the sentence says what."""


_LISTENING: Final = range(15_000, 32_000)
"""Below the ports that the kernel gives to connections: between two lives of a node its port stays free."""
_given: set[int] = set()
_lock = threading.Lock()


def free_ports(count: int = 1) -> tuple[int, ...]:
    """Return ports of every address that are free now and that this process has not had yet."""
    found: list[int] = []
    with _lock:
        while len(found) < count:
            port = random.SystemRandom().choice(_LISTENING)
            if port in _given:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
            _given.add(port)
            found.append(port)
    return tuple(found)
