"""Logins of browsers: random names, kept as digests in memory, and gone with the process or after a quiet time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LONGEST_S: Final = 12 * 3600.0
"""Time after which a login ends, used or not: a working day."""
MOST: Final = 1000
"""Logins at the same time; a further one ends the oldest."""


@dataclass(slots=True)
class _Session:
    user: str
    began: float
    seen: float


@dataclass(slots=True)
class Sessions:
    """Logins by the digest of what the browser's cookie holds. idle_s: seconds without a request that end one."""

    idle_s: float
    now: Callable[[], float] = time.monotonic
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _known: dict[str, _Session] = field(default_factory=dict)

    def begin(self, user: str) -> str:
        """Begin a login; returns the content of its cookie."""
        token, now = secrets.token_urlsafe(32), self.now()
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[_digest(token)] = _Session(user, now, now)
        return token

    def user(self, token: str, *, active: bool = True) -> str:
        """Return who is logged in, "" where the login has ended. active: a person asks, not a page by itself."""
        session = self._known.get(_digest(token)) if token else None
        if session is None:
            return ""
        now = self.now()
        if now - session.seen > self.idle_s or now - session.began > LONGEST_S:
            self.end(token)
            return ""
        if active:
            session.seen = now
        return session.user

    def end(self, token: str) -> None:
        """End a login."""
        self._known.pop(_digest(token), None)

    def form_token(self, subject: str) -> str:
        """Return what a form must carry: it shows that the page came from here. subject: cookie or user."""
        return hmac.new(self._key, subject.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, subject: str, given: str) -> bool:
        """Return whether a form's token belongs to this subject."""
        return hmac.compare_digest(self.form_token(subject).encode(), given.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
