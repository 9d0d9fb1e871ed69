"""A console over a journal, and a browser that asks it without a network."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from node.config.sections import Config, NodeConfig
from node.config.web import WebConfig
from node.console.app import application
from node.console.console import Console
from node.console.users import Role, User, hash_password
from node.journal.journal import Journal

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users that only tests have
HOST = "127.0.0.1:8080"
HASH = hash_password(PASSWORD)
T = TypeVar("T")


def config_of(state: Path, **web: Any) -> Config:
    """A configuration with this state folder."""
    settings = WebConfig(**{"port": 8080, **web})
    return Config(node=NodeConfig(ae_title="NODE", state=state), web=settings)


@dataclass
class Audited:
    """What the console wrote into the audit trail."""

    entries: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, event: Any, user: str, _what: Mapping[str, object], how: Any) -> None:
        self.entries.append((str(event), user, how))


def console_over(journal: Journal, state: Path, **web: Any) -> Console:
    """A console with one user of every role, named as the role."""
    made = Console.of(config_of(state, **web), journal, lambda: journal, Audited())
    for role in Role:
        made.users.put(User(role, role, "" if web.get("auth") == "proxy" else HASH))
    return made


def run_apart(story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: tests with a browser leave a loop in theirs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, story).result()


class Browser:
    """Asks an application as a browser does: keeps cookies, says where a form comes from."""

    def __init__(self, app: Any, address: str = "127.0.0.1") -> None:
        self.transport = httpx.ASGITransport(app, client=(address, 5555), raise_app_exceptions=True)
        self.cookies = httpx.Cookies()

    @classmethod
    def of(cls, console: Console, **options: Any) -> Browser:
        return cls(application(console), **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def asking() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self.transport, base_url=f"http://{HOST}", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return run_apart(asking())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> httpx.Response:
        sent = {"origin": f"http://{HOST}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.ask("POST", path, data=dict(form), headers=sent)

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/login", {"name": name, "password": password})

    def token(self, path: str = "/series") -> str:
        """The token of the forms of a page."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get(path).text)
        assert found
        return found[1]
