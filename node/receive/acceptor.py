"""The thread that takes connections from the listening socket, those that are open, and their end in order."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from node.events import Log, StepFailed
from node.faults import describe_error, error_trace
from node.receive.association import Connection

_ACCEPT_S: Final = 0.2
_ABORT_S: Final = 3.0


@dataclass(slots=True)
class Acceptor:
    """Takes connections. welcome: what is done with one, and the peer's address.

    round_at: when it last looked for a connection, of the monotonic clock. stopping: no new ones are taken.
    """

    welcome: Callable[[socket.socket, str], None]
    log: Log
    round_at: float = field(default_factory=time.monotonic)
    stopping: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _connections: set[Connection] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, listener: socket.socket) -> int:
        """Take connections in a thread of its own; returns the port."""
        self._listener = listener
        listener.settimeout(_ACCEPT_S)
        threading.Thread(
            target=self._listen, args=(listener,), name="listener", daemon=True
        ).start()
        return int(listener.getsockname()[1])

    def add(self, connection: Connection) -> None:
        """Count an open connection."""
        with self._lock:
            self._connections.add(connection)

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            self._connections.discard(connection)

    def stop(self, timeout_s: float) -> int:
        """Take no new connections, let open ones end within the time limit, abort the rest; returns how many."""
        if self._listener is None:
            return 0
        self.stopping.set()
        self._listener.close()
        ends_at = time.monotonic() + timeout_s
        while self._expected() and time.monotonic() < ends_at:
            time.sleep(0.05)
        left = self._associations()
        with self._lock:
            rest = list(self._connections)
        for connection in rest:
            connection.end("the node stops")
        ends_at = time.monotonic() + _ABORT_S
        for connection in rest:
            connection.join(max(0.0, ends_at - time.monotonic()))
        return left

    def _expected(self) -> bool:
        """Return whether a connection has an association, or may be about to ask for it."""
        with self._lock:
            return any(c.associated or c.arrives() for c in self._connections)

    def _associations(self) -> int:
        with self._lock:
            return sum(c.associated for c in self._connections)

    def _listen(self, listener: socket.socket) -> None:
        last = ""
        while not self.stopping.is_set():
            self.round_at = time.monotonic()
            try:
                link, peer = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # the listener was closed, or there are no file handles left
                if not self.stopping.is_set() and (fault := str(error.strerror)) != last:
                    self.log(StepFailed("receive", fault))
                    last = fault
                self.stopping.wait(_ACCEPT_S)
                continue
            try:
                self.welcome(link, str(peer[0]).removeprefix("::ffff:"))
            except Exception as error:  # noqa: BLE001 - one connection does not end the listener
                link.close()
                self.log(StepFailed("receive", describe_error(error), error_trace(error)))
