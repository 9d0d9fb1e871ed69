"""OHIF in Chromium shows what the node made: four named lines and the segments."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.demo import ohif, servers

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
HARMLESS = (
    "error in event listener of type:  IMAGE_LOAD_ERROR TypeError: handler is not a function",
)
"""OHIF 3.13.2 says this on correct data, while the first viewport is thrown away."""


@pytest.fixture
def viewer(
    site: Callable[..., Any], coded: Any, oracle_bundle: Path
) -> Iterator[tuple[Any, ohif.Viewer]]:
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None:
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif)")
    if not Path(CHROMIUM).exists() or shutil.which("storescu") is None:
        pytest.skip("needs Chromium and DCMTK (apt install chromium dcmtk)")
    here = site(bundle=oracle_bundle, with_pacs=True)
    here.send(coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    (port,) = servers.free_ports(1)
    served = ohif.serve(
        ohif.application(dist, servers.home() / "ohif.js", here.ports.pacs_url), port
    )
    yield here, served
    served.stop()


def test_the_link_opens_lines_and_segments(viewer: tuple[Any, ohif.Viewer], coded: Any) -> None:
    api = pytest.importorskip("playwright.sync_api")
    _, served = viewer
    said: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox"]
        )
        page = browser.new_context(viewport={"width": 1600, "height": 900}).new_page()
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(served.link(coded.told["study_uid"]))
        page.wait_for_function(
            "() => window.services && services.measurementService.getMeasurements().length === 4"
            " && services.segmentationService.getSegmentations().length > 0",
            timeout=120_000,
        )
        page.wait_for_selector("svg.svg-layer line", timeout=60_000, state="attached")
        labels = page.evaluate(
            "() => services.measurementService.getMeasurements().map(m => m.label).sort()"
        )
        lengths = page.evaluate(
            "() => services.measurementService.getMeasurements().map(m => [m.label, m.points])"
        )
        segments = page.evaluate(
            "() => Object.values(services.segmentationService.getSegmentations()[0].segments).map(s => s.label)"
        )
        page.wait_for_timeout(3000)
        picture = os.environ.get("OHIF_PICTURE")
        if picture:
            page.screenshot(path=picture)
        browser.close()
    assert labels == ["DAA", "DIVC", "OC", "PI"]
    assert {"L4/5 disc", "Psoas major, left", "Psoas major, right"} <= set(segments)
    for label, points in lengths:
        (a, b) = points
        length = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5
        assert abs(length - coded.told["measurements"][label]["value_mm"]) < 0.1
    assert [s for s in said if not s.startswith(HARMLESS)] == []
