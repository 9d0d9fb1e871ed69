"""From the console's page of a series to OHIF behind the same login: the archive is asked by the console alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest

from node.console.users import Role, User, Users, hash_password
from node.demo import ohif
from node.free_ports import free_ports
from tests.support.browser import SIZE, Archive, Look
from tests.support.paths import ROOT
from tests.support.screens import READY, SHOWN, keep_picture
from tests.support.sites import Site
from tests.support.threaded_node import until

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of a node that lives for a minute

REACHED: Final = """async () => {
  const found = { cookie: document.cookie };
  found.fetch = await fetch('/series/1').then(r => r.status, () => 'refused');
  const frame = document.body.appendChild(document.createElement('iframe'));
  frame.src = '/series/1';
  await new Promise(done => setTimeout(done, 1500));
  try { found.frame = frame.contentDocument.body.innerText || 'refused'; } catch { found.frame = 'refused'; }
  const other = window.open('/series/1');
  await new Promise(done => setTimeout(done, 1500));
  try { found.window = !other || other.closed ? 'refused' : other.document.title; } catch { found.window = 'refused'; }
  return found;
}"""
"""What a script in the viewer gets of a page of the console, by the ways that a browser has."""


@pytest.fixture(scope="module")
def console(
    module_site: Callable[..., Site], archive: Archive, small_coded: Any, oracle_bundle: Path
) -> Iterator[tuple[Site, str]]:
    """A node whose results go to the archive by STOW-RS, and the address of its console."""
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None or shutil.which("storescu") is None:
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif) and DCMTK (apt install dcmtk)")
    (port,) = free_ports(1)
    web = f'[web]\nport = {port}\nohif = "{dist}"\narchive = "web"\n'
    url = f"{str(archive.pacs.base_url).rstrip('/')}/dicom-web"
    more = f'[[node.destination]]\nname = "web"\nkind = "dicomweb"\nurl = "{url}"\n'
    here = module_site(bundle=oracle_bundle, extra=web, destination=more)
    users = Users(here.folder / "state" / "users.json")
    for role in Role:
        users.put(User(role, role, hash_password(PASSWORD)))
    with archive.holding({f.name: f.read_bytes() for f in small_coded.files}):
        here.send(small_coded.files)
        (row,) = here.wait(1)
        assert row.state == "delivered", row.reason
        address = f"http://127.0.0.1:{port}"
        until(lambda: _answers(address))
        yield here, address


@dataclass
class Visit:
    """A page, what its console said, and the addresses that it asked for."""

    page: Any
    said: list[str]
    asked: list[str]


@contextmanager
def _logged_in(chromium: Any, address: str, role: str, path: str) -> Iterator[Visit]:
    """Open an address without a login, log in, and be led back to it."""
    context = chromium.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
    heard = Look(chromium)
    asked: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda m: heard._hear(m.type, m.text))
        page.on("pageerror", lambda e: heard._hear("error", str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(f"{address}{path}")
        assert page.url.startswith(f"{address}/login")
        page.fill("#name", role)
        page.fill("#password", PASSWORD)
        page.click("button.main")
        page.wait_for_url(f"{address}{path}")
        yield Visit(page, heard.console, asked)
    finally:
        context.close()


def test_the_link_of_a_series_opens_its_lines_behind_the_login(
    chromium: Any, console: tuple[Site, str], small_coded: Any
) -> None:
    here, address = console
    (row,) = here.journal.series.in_states()
    result = here.journal.results.of_series(row.key)[-1]
    given = json.loads((result.folder / "result.json").read_text())["measurements"]
    with _logged_in(chromium, address, "physician", "/series/1") as visit:
        page, said = visit.page, visit.said
        own = page.evaluate(REACHED)
        said.clear()
        page.click("a:has-text('Open in the viewer')")
        page.wait_for_function(READY, arg=4, timeout=120_000)
        seen = page.evaluate(SHOWN)
        seen["list"] = page.locator('[data-cy^="study-browser-thumbnail"]').count()
        keep_picture("console-viewer", page.screenshot())
        spoken = list(said)
        reached = page.evaluate(REACHED)
        asked = [url for url in visit.asked if not url.startswith(("blob:", "data:"))]
    assert sorted(title.split(",")[0] for title, _ in seen["rows"]) == sorted(given)
    for title, points in seen["points"].items():
        length = float(np.linalg.norm(np.subtract(*points)))
        assert abs(length - given[title.split(",")[0]]["value_mm"]) < 0.06
    assert {"L4/5 disc", "Psoas major, left", "Psoas major, right"} <= set(seen["segments"])
    assert seen["list"] > 3  # the study with its series, which OHIF finds by the patient's id
    # What runs in the viewer reaches neither another server nor a page of the console.
    assert all(url.startswith(f"{address}/") for url in asked)
    assert {**reached, "cookie": ""} == {
        "fetch": "refused",
        "frame": "refused",
        "window": "refused",
        "cookie": "",
    }
    assert "lumbar-node" not in reached["cookie"]
    assert own["fetch"] == 200  # where nothing stands between, the same script does reach it
    assert own["window"].startswith("Series 1")
    assert spoken == []


@pytest.mark.parametrize(("role", "heading"), [("viewer", "Forbidden"), ("operator", "Forbidden")])
def test_the_viewer_opens_for_physicians_alone(
    chromium: Any, console: tuple[Site, str], role: str, heading: str
) -> None:
    here, address = console
    study = here.journal.series.in_states()[0].key.study
    with _logged_in(chromium, address, role, f"/viewer?StudyInstanceUIDs={study}") as visit:
        page = visit.page
        assert page.inner_text("h1") == heading
        page.goto(f"{address}/series/1")
        assert page.locator("a:has-text('Open in the viewer')").count() == 0


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/login").status_code == 200
    except httpx.TransportError:
        return False
