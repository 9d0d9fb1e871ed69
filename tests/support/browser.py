"""OHIF in Chromium: a PACS with a synthetic patient, results in it, and what a page shows of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.uids import Identity
from dicomseg.read import header as headers
from dicomseg.read import series
from dicomseg.read.pixels import read_source
from model.bundle.load import load_bundle
from node.demo import ohif, servers
from node.free_ports import free_ports
from node.work import pipeline
from tests.support.paths import ROOT
from tests.support.screens import READY, SHOWN, keep_picture, pixels_of

CHROMIUM = "/usr/bin/chromium"
SIZE = (1600, 900)
LOADS = int(os.environ.get("LOADS", "0"))
"""Loads of every case; 0: each test's own number."""
HARMLESS = (
    "error in event listener of type:  IMAGE_LOAD_ERROR TypeError: handler is not a function",
    "dataSource= {query: Object, retrieve: Object",
)
"""OHIF 3.13.2 says this on correct data: while it throws a first viewport away, and of a study that holds a PDF."""

# ---- results to show -----------------------------------------------------------------------------


def run_of(files: Sequence[Path], oracle_bundle: Path) -> EncodeInput:
    """What the encoders get for a series, made by the real way with the oracle as its network."""
    grid = series.assemble([headers.read_instance(f) for f in files])
    assert isinstance(grid, series.Grid)
    runs: list[EncodeInput] = []

    def keep(run: EncodeInput, *_: object) -> dict[str, bytes]:
        runs.append(run)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "encode_all", keep)
        settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))
        model = load_bundle(oracle_bundle)
        pipeline.process_series(grid, model, settings, lambda: datetime(2026, 1, 2, tzinfo=UTC))
    return runs[0]


def with_pixels(run: EncodeInput, files: Sequence[Path]) -> EncodeInput:
    """The same result on other pixels of the same geometry: a picture that a person can look at."""
    grid = series.assemble([headers.read_instance(f) for f in files])
    assert isinstance(grid, series.Grid)
    return replace(run, source=read_source(grid))


# ---- servers -------------------------------------------------------------------------------------


@dataclass
class Slow:
    """Middleware that delays requests whose path contains a text."""

    app: Any
    part: str = ""
    seconds: float = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.part and self.part in scope.get("path", ""):
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class Archive:
    """An Orthanc of its own, and the viewer that reads from it."""

    pacs: httpx.Client
    viewer: ohif.Viewer
    slow: Slow

    def store(self, contents: Sequence[bytes]) -> set[str]:
        """Store objects; returns Orthanc's names of their series."""
        stored = set()
        for content in contents:
            answer = self.pacs.post("/instances", content=content)
            answer.raise_for_status()
            stored.add(answer.json()["ParentSeries"])
        return stored

    @contextmanager
    def holding(self, *results: Mapping[str, bytes]) -> Iterator[None]:
        """Hold these results, by file name; at the end what came meanwhile leaves as well, as from a node."""
        contents = [c for files in results for name, c in files.items() if name.endswith(".dcm")]
        before = self._series()
        self.store(contents)
        try:
            yield
        finally:
            for one in self._series() - before:
                self.pacs.delete(f"/series/{one}").raise_for_status()

    def _series(self) -> set[str]:
        return set(self.pacs.get("/series").raise_for_status().json())


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An empty Orthanc with OHIF beside it."""
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None:
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif)")
    if servers.find_orthanc() is None:
        pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
    ports = servers.Ports(*free_ports(4))
    running = servers.start_orthanc(tmp_path_factory.mktemp("orthanc"), ports)
    slow = Slow(ohif.application(dist, ohif.SCRIPTS, ports.pacs_url))
    try:
        (port,) = free_ports(1)
        viewer = ohif.serve(slow, port)  # type: ignore[arg-type]  # any ASGI application
        with httpx.Client(base_url=ports.pacs_url, timeout=60) as pacs:
            yield Archive(pacs, viewer, slow)
        viewer.stop()
    finally:
        servers.stop(running)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests; every load has a context of its own."""
    api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip("needs Chromium (apt install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


# ---- what a page shows ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One load of a page.

    page: what `SHOWN` finds in it. pixels: its screenshot (rows, columns, 3). console: its errors and warnings without
    the harmless ones. answer: of a question of the test.
    """

    page: dict[str, Any]
    pixels: NDArray[np.uint8]
    console: list[str]
    answer: Any = None


@dataclass
class Look:
    """How a page is opened and looked at."""

    chromium: Any
    size: tuple[int, int] = SIZE
    console: list[str] = field(default_factory=list)

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith(HARMLESS):
            self.console.append(f"{kind}: {text}")

    @contextmanager
    def page(self, link: str, count: int = 4, ready: str = READY) -> Iterator[Any]:
        """Open a link in a context of its own, and wait until `count` measurements are drawn."""
        self.console.clear()
        context = self.chromium.new_context(
            viewport={"width": self.size[0], "height": self.size[1]}
        )
        try:
            page = context.new_page()
            page.on("console", lambda m: self._hear(m.type, m.text))
            page.on("pageerror", lambda e: self._hear("error", str(e)))
            page.goto(link)
            page.wait_for_function(ready, arg=count, timeout=120_000)
            page.wait_for_timeout(400)  # a text that moves would have moved
            yield page
        finally:
            context.close()

    def __call__(self, link: str, picture: str = "", question: str = "() => null") -> Seen:
        """Return what a link shows; picture: name of the screenshot, where screenshots are kept."""
        with self.page(link) as page:
            found, answer = page.evaluate(SHOWN), page.evaluate(question)
            content = page.screenshot()
        keep_picture(picture, content)
        return Seen(found, pixels_of(content), list(self.console), answer)


@pytest.fixture
def look(chromium: Any) -> Look:
    """Open pages at 1600 × 900."""
    return Look(chromium)


@pytest.fixture(scope="session")
def shown_run(
    small_coded: Any, oracle_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EncodeInput, list[Path]]:
    """A result of a patient whose pictures can be looked at, and its images: labels known, contrast of a scanner."""
    from training.phantom.study import StudyOptions, write_study

    options = StudyOptions(slices=64, matrix=160, oblique=True)
    files = sorted(
        (write_study(tmp_path_factory.mktemp("shown"), 18, options) / "t2_space").glob("*.dcm")
    )
    return with_pixels(run_of(small_coded.files, oracle_bundle), files), files


@pytest.fixture(scope="module")
def images(archive: Archive, shown_run: tuple[EncodeInput, list[Path]]) -> Iterator[None]:
    """The patient's images in the archive."""
    with archive.holding({file.name: file.read_bytes() for file in shown_run[1]}):
        yield
