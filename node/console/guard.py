"""What every answer carries and every request must be: headers of safety, known hosts, POST of the same origin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No script, style or picture of another place, none within a page, and no page of ours within another."""
HEADERS: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
)
MOST_BODY: Final = 16_384
"""Bytes of a form; the largest has a name and a password."""
_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
"""A Host header without signs that mean something in a policy or an address."""
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Guard:
    """Wraps an application. hosts: names and addresses by which it may be asked, besides this machine's own."""

    app: ASGIApp
    hosts: frozenset[str]
    tls: bool = False

    @classmethod
    def around(cls, app: ASGIApp, hosts: Iterable[str], *, tls: bool) -> Guard:
        """Guard an application."""
        return cls(app, frozenset(h.lower() for h in (*_LOCAL, *hosts)), tls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        guarded = self._with_headers(send)
        refused = self._refusal(scope)
        if refused is not None:
            status, why = refused
            await PlainTextResponse(f"{why}\n", status)(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS:
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if self.tls:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        return sending

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if (_name(host) or "") not in self.hosts:
            return 400, "this console is not reached by that name; add it to [web] names"
        if scope["method"] in {"GET", "HEAD"}:
            return None
        if scope["method"] != "POST":
            return 405, "only GET and POST"
        if not _is_same_origin(headers, host):
            return 403, "a form of another origin is not accepted"
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return 413, f"a form has at most {MOST_BODY} bytes, and says how many"
        return None


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Return whether a browser says that the form is of this host; one that says nothing is refused."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site not in {None, "same-origin"}:
        return False
    if origin is None:
        return site is not None
    # Not the scheme: behind a proxy it is another here.
    return urlsplit(origin).netloc.lower() == host.lower()


def _name(host: str) -> str | None:
    """Return the name of a Host header without its port, None where it is none."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").lower()
