"""HTTP whose requests must come: a connection that sends its request in drops is answered 408 and ends."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S: Final = 15.0
"""Time for one request with its form, from its first byte or from the connection to its last; a form has 16 kB."""
_LATE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: 34\r\n\r\nthe request did not come in time.\n"
)
_COMING: Final = frozenset({h11.IDLE, h11.SEND_BODY})


class Deadline(H11Protocol):
    """Uvicorn's protocol, which by itself waits for ever for the rest of a request."""

    _due: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    @override
    def on_response_complete(self) -> None:
        # The wait for a next request is uvicorn's, and short.
        self._unwatch()
        super().on_response_complete()

    def _watch(self) -> None:
        """Let the time run while a request is not complete; what comes meanwhile does not begin it again."""
        if self.conn.their_state not in _COMING:
            self._unwatch()
        elif self._due is None and not self.transport.is_closing():
            self._due = self.loop.call_later(REQUEST_S, self._late)

    def _unwatch(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        self._due = None
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_LATE)
        self.transport.close()
