"""Ports on which a server that is about to start can listen: of the demonstration, the benchmarks and the tests."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import Final

_LISTENING: Final = range(15_000, 32_000)
"""Below the ports that the kernel gives to connections: none of them takes a port before its server starts, nor
between two lives of a server."""
_given: set[int] = set()
_choosing = threading.Lock()
_book: list[int] = []
"""File descriptor of the file in which each process of this user locks one byte per port that it was given, once open."""


def free_ports(count: int = 1) -> tuple[int, ...]:
    """Return ports that are free now on every address, and that no process of this user has been given.

    A port is given until its process ends: a server may need seconds until it listens, and may be away in between.
    """
    found: list[int] = []
    with _choosing:
        while len(found) < count:
            port = random.SystemRandom().choice(_LISTENING)
            if port not in _given and _is_free(port) and _reserves(port):
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


def _reserves(port: int) -> bool:
    """Lock the port's byte in the book; False where another process has it. The lock ends with this process.

    Where there can be no book, or no lock in it, every port counts as reserved.
    """
    try:
        if not _book:
            file = Path(tempfile.gettempdir()) / f"lumbar-node-ports-{os.getuid()}"
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            _book.append(os.open(file, flags, 0o600))
        fcntl.lockf(_book[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError as error:
        return not _book or error.errno not in {errno.EAGAIN, errno.EACCES}
    return True
