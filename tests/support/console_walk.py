"""A console over a running service in Chromium: who looks, what their browser says, what axe-core finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from node.console.users import Role, User, Users, hash_password
from node.free_ports import free_ports
from tests.support.paths import ROOT
from tests.support.screens import keep_picture
from tests.support.sites import Site

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of a node that lives for a minute
AXE: Final = ROOT / ".cache" / "axe" / "axe.min.js"
RULES: Final = (
    "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"
)
SIZES: Final = {"desk": (1280, 900), "phone": (390, 844)}


@dataclass
class Shown:
    """A console over a site; port: where it listens."""

    site: Site
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether the console responds."""
        try:
            return httpx.get(f"{self.url}/login").status_code == 200
        except httpx.TransportError:
            return False


def web_section(**more: str) -> tuple[int, str]:
    """Return a free port and a `[web]` that listens there."""
    (port,) = free_ports(1)
    lines = [f"port = {port}", *(f'{key} = "{value}"' for key, value in more.items())]
    return port, "[web]\n" + "\n".join(lines) + "\n"


def add_users(site: Site, *names: str) -> None:
    """Add a user of every role, named as the role, and more physicians."""
    users = Users(site.folder / "state" / "users.json")
    for role in Role:
        users.put(User(role, role, hash_password(PASSWORD)))
    for name in names:
        users.put(User(name, Role.PHYSICIAN, hash_password(PASSWORD)))


@dataclass
class Visit:
    """A page, and what its console said."""

    page: Any
    said: list[str] = field(default_factory=list)


@contextmanager
def opened(shown: Shown, chromium: Any, name: str, size: str = "desk") -> Iterator[Visit]:
    """Open a browser in which a user has logged in, by keyboard alone: the first field has the focus."""
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height})
    try:
        found = Visit(context.new_page())
        found.page.on("console", lambda m: found.said.append(m.text) if m.type in {"error", "warning"} else None)  # fmt: skip
        found.page.on("pageerror", lambda e: found.said.append(str(e)))
        found.page.goto(f"{shown.url}/login")
        expect = pytest.importorskip("playwright.sync_api").expect
        expect(found.page.locator("#name")).to_be_focused(timeout=30_000)
        found.page.keyboard.type(name)
        found.page.keyboard.press("Tab")
        found.page.keyboard.type(PASSWORD)
        found.page.keyboard.press("Enter")
        found.page.wait_for_url(f"{shown.url}/")
        yield found
    finally:
        context.close()


def check_page(seen: Visit, name: str, size: str) -> None:
    """Assert that a page has no fault of accessibility, fits the width and said nothing; keep its picture."""
    if not AXE.exists():
        pytest.skip("needs axe-core (sh orthanc/axe.sh .cache/axe)")
    seen.page.evaluate("Promise.all([...document.images].map(i => i.decode()))")
    keep_picture(f"console{name}-{size}", seen.page.screenshot(full_page=True))
    seen.page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = seen.page.evaluate(f"axe.run(document, {RULES})")
    assert [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found["violations"]] == []
    assert len(found["passes"]) > 20
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert seen.said == []
