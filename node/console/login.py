"""The addresses of logging in and out."""

from __future__ import annotations

import asyncio
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from node.audit.entry import AuditEvent
from node.console import auth
from node.console.console import NOBODY, Asked, Console
from node.console.render import render, render_message
from node.errors import UsersRefused

_LOCAL: Final = re.compile(r"/(?![/\\])[A-Za-z0-9._~/-]{0,200}(\?[A-Za-z0-9._~/%&=+,:-]{0,800})?")
MOST_AT_ONCE: Final = 8
"""Tries that wait for the one thread that compares passwords: each takes a core and 64 MB."""


@dataclass(eq=False, slots=True)
class _Login:
    console: Console
    comparing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "console login")
    )
    waiting: int = 0

    def page(self, status: int = HTTPStatus.OK, problem: str = "", back: str = "/") -> Response:
        """Return the page that asks for name and password. back: where a login leads."""
        values = {"problem": problem, "back": back}
        return render(self.console, NOBODY, "login.html", values, status)

    async def log_in(self, request: Request) -> Response:
        """Compare name and password; a right one gets a cookie."""
        if request.method != "POST":
            return self.page(back=local_path(request.query_params.get("next", "")))
        form = FormData(await request.form(max_files=0, max_fields=5))
        asked = Asked(NOBODY, {}, request.query_params, form)
        back = local_path(str(form.get("next", "")))
        counted = auth.keys(request, str(form.get("name", "")))
        if self.waiting >= MOST_AT_ONCE:
            return self._later(1.0, back)
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            token = await loop.run_in_executor(self.comparing, self._compared, asked, counted)
        finally:
            self.waiting -= 1
        if token is None:
            return self._later(self.console.tries.wait_s(*counted), back)
        if not token:
            return self.page(HTTPStatus.UNAUTHORIZED, "Name or password is wrong.", back)
        answer = RedirectResponse(back, HTTPStatus.SEE_OTHER)
        secure = auth.is_secure(self.console, request)
        name = auth.SECURE_COOKIE if secure else auth.COOKIE
        answer.set_cookie(name, token, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    def _compared(self, asked: Asked, counted: tuple[str, str]) -> str | None:
        """Return the content of the cookie, "" for a wrong password, None for a try that comes too early."""
        if self.console.tries.wait_s(*counted) > 0:
            return None
        return auth.log_in(self.console, asked, counted)

    def _later(self, wait_s: float, back: str) -> Response:
        seconds = max(1, math.ceil(wait_s))
        text = f"Too many tries; the next may be made in {seconds} s."
        answer = self.page(HTTPStatus.TOO_MANY_REQUESTS, text, back)
        answer.headers["retry-after"] = str(seconds)
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the login of a browser."""
        token = auth.cookie(self.console, request)
        form = FormData(await request.form(max_files=0, max_fields=5))
        try:
            visitor = auth.visitor(self.console, request)
        except UsersRefused:
            visitor = None
        if visitor is not None:
            if not self.console.sessions.is_form_token(token, str(form.get("token", ""))):
                text = "the form is of an earlier login; load the page again and repeat"
                return render_message(self.console, visitor, HTTPStatus.FORBIDDEN, text)
            loop = asyncio.get_running_loop()
            record = self.console.record
            await loop.run_in_executor(
                self.comparing, record, AuditEvent.LOGOUT, visitor.name, {}, "success"
            )
        self.console.sessions.end(token)
        answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        for name in (auth.COOKIE, auth.SECURE_COOKIE):
            answer.delete_cookie(name, path="/", secure=name == auth.SECURE_COOKIE)
        return answer


def local_path(text: str) -> str:
    """Return an address of this console with its query; "/" for anything that may lead elsewhere."""
    return text if _LOCAL.fullmatch(text) else "/"


def login_address(request: Request) -> str:
    """Return the address of the login that leads back to what was asked."""
    query = request.scope["query_string"].decode("latin-1")
    wanted = local_path(
        request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    )
    return "/login" if wanted == "/" else f"/login?{urlencode({'next': wanted})}"


def login_routes(console: Console) -> list[Route]:
    """Return the addresses; none where a proxy says who asks."""
    if console.config.web.auth == "proxy":
        return []
    login = _Login(console)
    return [
        Route("/login", login.log_in, methods=["GET", "POST"]),
        Route("/logout", login.log_out, methods=["POST"]),
    ]
