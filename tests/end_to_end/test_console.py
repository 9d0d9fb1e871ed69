"""The console in Chromium over a running service: live, by keyboard, on a phone, without a fault of accessibility."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.console_walk import SIZES, Shown, add_users, check_page, opened, web_section
from tests.support.sites import Site
from tests.support.threaded_node import until

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shown(module_site: Callable[..., Site], small_coded: Any, oracle_bundle: Path) -> Shown:
    if shutil.which("storescu") is None:
        pytest.skip("needs DCMTK (apt install dcmtk)")
    port, web = web_section()
    site = module_site(bundle=oracle_bundle, with_pacs=False, extra=web)
    add_users(site)
    site.send(small_coded.files)
    site.wait(1)
    found = Shown(site, port)
    until(found.answers)
    return found


@pytest.fixture
def visit(shown: Shown, chromium: Any) -> Callable[..., Any]:
    """Open a page as a user of a role."""
    return partial(opened, shown, chromium)


def test_the_service_keeps_the_console_running(shown: Shown) -> None:
    assert httpx.get(f"{shown.url}/login").status_code == 200
    (pid,) = [p for p in _children(shown) if "node.console.process" in _command(p)]
    os.kill(pid, 9)
    until(shown.answers)
    assert shown.site.running[0].alive


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/", "/series", "/series/1", "/destinations", "/senders", "/disk", "/model", "/review", "/corrections"])  # fmt: skip
def test_no_page_has_a_fault_of_accessibility_or_a_word_in_the_console(
    shown: Shown, visit: Any, path: str, size: str
) -> None:
    with visit("operator", size) as seen:
        seen.page.goto(f"{shown.url}{path}")
        check_page(seen, path.replace("/", "-"), size)


def test_a_page_changes_by_itself_and_a_person_acts_with_confirmation(
    shown: Shown, visit: Any
) -> None:
    with visit("operator") as watcher, visit("operator") as actor:
        watcher.page.goto(f"{shown.url}/series/1")
        assert "delivered" in watcher.page.inner_text(".lead")
        events = watcher.page.locator("#history summary")
        before = events.inner_text()
        actor.page.goto(f"{shown.url}/series/1")
        actor.page.click("button:has-text('Send again')")
        assert "Send again to folder" in actor.page.inner_text("h1")
        actor.page.click("button.main")
        actor.page.wait_for_url(f"{shown.url}/series/1")
        expect = pytest.importorskip("playwright.sync_api").expect
        expect(events).not_to_have_text(before, timeout=30_000)
        expect(watcher.page.locator("td[data-label='State']").first).to_contain_text("confirmed", timeout=60_000)  # fmt: skip
        assert watcher.said == []


def test_a_viewer_sees_no_value_and_no_button(shown: Shown, visit: Any) -> None:
    with visit("viewer") as seen:
        seen.page.goto(f"{shown.url}/series/1")
        text = seen.page.inner_text("main")
        assert "its values are for physicians and operators" in text
        assert seen.page.locator("main button").count() == 0


def _children(shown: Shown) -> list[int]:
    pid = shown.site.running[0].process.pid
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(n) for n in (task / "children").read_text("ascii").split()]
    return found


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
