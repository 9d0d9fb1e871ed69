"""Templates to pages; every value is escaped, and rid of signs that act."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from node.console import words
from node.console.console import Console, Visitor


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("node.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=words.harmless,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"mark": words.mark, "word": words.word}
    found.filters |= {"clock": words.clock_text, "size": words.size, "moment": words.moment}
    return found


def render(
    console: Console,
    visitor: Visitor,
    template: str,
    values: Mapping[str, Any],
    status: int = HTTPStatus.OK,
) -> HTMLResponse:
    """Return a page."""
    now = console.wall()
    text = _environment().get_template(template).render(
        visitor=visitor,
        node=console.config.node.name,
        form_token=console.sessions.form_token(visitor.subject) if visitor.subject else "",
        is_local=console.config.web.auth == "local",
        age=lambda text: words.age(text, now),
        **values,
    )  # fmt: skip
    return HTMLResponse(text, status)


def render_message(
    console: Console, visitor: Visitor, status: HTTPStatus, text: str, back: str = "/"
) -> HTMLResponse:
    """Return a page that says what happened and what to do."""
    values = {"title": status.phrase, "text": text, "back": back}
    return render(console, visitor, "message.html", values, status)
