"""Tell systemd how the service fares: sd_notify(3), without a library."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"
_MORE_TIME: Final = "EXTEND_TIMEOUT_USEC=120000000"
_EVERY_S: Final = 30.0
"""How often a long start asks for two minutes more."""


@dataclass(slots=True)
class Notifier:
    """Sends states to the socket that systemd named; without one it sends nothing.

    address: of the datagram socket, "@" for an abstract one; "" without systemd.
    watchdog_s: seconds in which systemd wants a sign of life; 0 without a watchdog.
    """

    address: str = ""
    watchdog_s: float = 0.0
    _described: str = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Take what systemd wants to hear out of the environment, so that no child answers for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = pid in {"", str(os.getpid())} and microseconds.isdigit()
        return cls(address, int(microseconds) / 1e6 if is_ours else 0.0)

    def tell(self, *states: str) -> None:
        """Send states, as "READY=1"; a manager that does not listen stops nothing."""
        if not self.address:
            return
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
        ):
            to.connect(name)
            to.sendall("\n".join(states).encode())

    def describe(self, text: str) -> None:
        """Send one line for people (`systemctl status`), when it is another than before."""
        if text != self._described:
            self._described = text
            self.tell(f"STATUS={' '.join(text.split())}")

    @contextmanager
    def long_start(self, doing: str, every_s: float = _EVERY_S) -> Iterator[None]:
        """Ask for more time while a start reads many files or migrates a large journal."""
        self.describe(doing)
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(every_s):
                self.tell(_MORE_TIME)

        thread = threading.Thread(target=ask, name="start-up", daemon=True)
        if self.address:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self.address:
                thread.join()
