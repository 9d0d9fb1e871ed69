"""Who asks: a login by name and password, or the user whom a listed proxy names."""

from __future__ import annotations

import ipaddress
from typing import Final

from starlette.requests import Request

from node.audit.entry import AuditEvent
from node.console.console import Asked, Console, Visitor
from node.console.users import LONGEST, is_password
from node.errors import UsersRefused

COOKIE: Final = "lumbar-node"
SECURE_COOKIE: Final = "__Host-lumbar-node"
"""The browser sends a cookie of this name only over TLS and only to the host that set it (RFC 6265bis)."""
REFRESH: Final = "x-refresh"
"""Header of a request that a page makes by itself: it does not keep a login alive."""


def is_proxy(console: Console, request: Request) -> bool:
    """Return whether a request comes from a listed proxy."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    networks = (ipaddress.ip_network(p, strict=False) for p in console.config.web.proxies)
    return any(address in network for network in networks)


def is_secure(console: Console, request: Request) -> bool:
    """Return whether the browser speaks TLS, to this console or to a listed proxy before it."""
    forwarded = request.headers.get("x-forwarded-proto", "") == "https"
    return request.url.scheme == "https" or (forwarded and is_proxy(console, request))


def origin(console: Console, request: Request) -> str:
    """Return scheme, name and port by which the browser reaches this console; the guard knows the name."""
    scheme = "https" if is_secure(console, request) else "http"
    return f"{scheme}://{request.headers['host']}"


def visitor(console: Console, request: Request, *, active: bool = True) -> Visitor | None:
    """Return who asks, None where no user has logged in. Raises `UsersRefused` where the users cannot be read.

    active: a person asks; what a page asks by itself does not keep a login alive.
    """
    web = console.config.web
    if web.auth == "proxy":
        name = request.headers.get(web.user_header, "") if is_proxy(console, request) else ""
        subject = f"proxy {name}"
    else:
        subject = cookie(console, request)
        name = console.sessions.user(subject, active=active and REFRESH not in request.headers)
    user = console.users.get(name) if name else None
    return None if user is None else Visitor(user.name, user.role, subject)


def cookie(console: Console, request: Request) -> str:
    """Return the content of the login's cookie, "" without one."""
    name = SECURE_COOKIE if is_secure(console, request) else COOKIE
    return request.cookies.get(name, "")


def keys(request: Request, name: str) -> tuple[str, str]:
    """Return what wrong tries are counted by: the address, and the address with the name."""
    address = request.client.host if request.client else ""
    return f"address {address}", f"name {address} {name[:LONGEST]}"


def log_in(console: Console, asked: Asked, counted: tuple[str, str]) -> str:
    """Return the content of the cookie of a new login, "" for a wrong name or password."""
    name = str(asked.form.get("name", ""))[:LONGEST]
    password = str(asked.form.get("password", ""))[: LONGEST + 1]
    try:
        user = console.users.get(name)
    except UsersRefused:
        user = None
    # What was typed is not written anywhere: it may be a password in the wrong field.
    known = user.name if user is not None else "unknown"
    if not is_password(user.hash if user else "", password) or user is None:
        console.tries.wrong(*counted)
        if console.tries.wait_s(*counted) <= 1.0:  # of many tries the first ones are enough
            console.record(AuditEvent.LOGIN, known, {}, "minor_failure")
        return ""
    console.tries.right(*counted)
    console.record(AuditEvent.LOGIN, user.name, {}, "success")
    return console.sessions.begin(user.name)
