"""One HTTP request with an end: bounded in all its time and in the bytes of its answer. The server is untrusted.

The time-outs of the client are for each read and write: a server that sends a byte now and then meets them for ever.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import httpx

MOST_BYTES: Final = 16 * 1024 * 1024
"""Longest answer that is read; one to a result of ten objects has a few thousand bytes."""
SLOWEST_BYTES_PER_S: Final = 50_000
"""Rate at which a body may at least be expected to leave."""
LONGEST_S: Final = 60.0
"""Time of a request beside its body and three time-outs: of the connection, of the headers, of the answer."""

_KEPT: Final = ("Retry-After", "Date")
"""Headers of an answer that are of use to whoever asked."""

IDENTITY: Final = {"Accept-Encoding": "identity"}
"""Header of every request: a compressed answer can become a thousand times as long before it can be counted."""


class AnswerRefused(httpx.RequestError):
    """The answer was too long, too slow or compressed: which, in a few words."""


def limit_s(timeout_s: float, body_bytes: int = 0) -> float:
    """Return the seconds that a request may take in all."""
    return LONGEST_S + 3 * timeout_s + body_bytes / SLOWEST_BYTES_PER_S


def ask(
    client: httpx.Client, method: str, url: str, within_s: float, **options: Any
) -> httpx.Response:
    """Send one request and return its complete answer, without most headers; the client can then be used only if that was in time.

    Raises:
        AnswerRefused: it was compressed, longer than `MOST_BYTES`, or not complete within `within_s`.
        httpx.HTTPError: there was none.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        client.close()

    timer = threading.Timer(within_s, end)
    timer.daemon = True
    timer.start()
    try:
        with client.stream(method, url, **options) as answer:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise AnswerRefused("answers in a compression that was not asked for")
            body = bytearray()
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > MOST_BYTES:
                    megabytes = MOST_BYTES // 1024**2
                    raise AnswerRefused(f"sends an answer of more than {megabytes} MB")
        if not late.is_set():
            kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
            return httpx.Response(answer.status_code, headers=kept, content=bytes(body))
    except (httpx.HTTPError, OSError, RuntimeError):  # a client that is closed raises any of them
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    raise AnswerRefused(f"does not complete its answer within {within_s:.0f} s")
