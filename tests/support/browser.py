"""OHIF in Chromium: a PACS with a synthetic patient, results in it, and what a page shows of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
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
from node.work import pipeline
from tests.support.paths import ROOT

CHROMIUM = "/usr/bin/chromium"
SIZE = (1600, 900)
LOADS = int(os.environ.get("LOADS", "0"))
"""Loads of every case; 0: each test's own number."""
PICTURES = os.environ.get("OHIF_PICTURES")
"""Folder that keeps a screenshot of every case."""
HARMLESS = (
    "error in event listener of type:  IMAGE_LOAD_ERROR TypeError: handler is not a function",
    "dataSource= {query: Object, retrieve: Object",
)
"""OHIF 3.13.2 says this on correct data: while it throws a first viewport away, and of a study that holds a PDF."""
LINES, SLICES = "lumbar-lines", "lumbar-slices"

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
        """Hold these results, by file name, and no other ones."""
        contents = [c for files in results for name, c in files.items() if name.endswith(".dcm")]
        stored = self.store(contents)
        try:
            yield
        finally:
            for one in stored:
                self.pacs.delete(f"/series/{one}").raise_for_status()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An empty Orthanc with OHIF beside it."""
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None:
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif)")
    if servers.find_orthanc() is None:
        pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
    ports = servers.Ports(*servers.free_ports(4))
    running = servers.start_orthanc(tmp_path_factory.mktemp("orthanc"), ports)
    slow = Slow(ohif.application(dist, servers.home() / "ohif", ports.pacs_url))
    try:
        (port,) = servers.free_ports(1)
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

READY = """(count) => {
  if (!window.services || services.measurementService.getMeasurements().length !== count) return false;
  const shown = services.cornerstoneViewportService;
  if (!shown.getCornerstoneViewport('lumbar-lines') || !shown.getCornerstoneViewport('lumbar-slices')) return false;
  const texts = [...document.querySelectorAll('svg.svg-layer text')];
  if (texts.length !== count || texts.some((t) => !(t.getAttribute('fill') || '').startsWith('rgb('))) return false;
  const [one] = services.segmentationService.getSegmentationRepresentations('lumbar-slices');
  return Boolean(one) && document.querySelectorAll('[data-cy="lumbar-card"]').length === 1;
}"""
"""Whether everything of a result is drawn: the texts have the colours that they get last."""

SHOWN = """() => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const text = (e) => e.innerText || e.textContent || '';
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const view = (id) => services.cornerstoneViewportService.getCornerstoneViewport(id);
  const [lines, slices] = ['lumbar-lines', 'lumbar-slices'].map(view);
  const corner = box(lines.element);
  const screen = (point) => lines.worldToCanvas(point).map((v, k) => v + corner[k]);
  const measurements = services.measurementService.getMeasurements();
  const rows = all('[data-cy^="measurement-table-row-"]').map((row) => [
    text(row.querySelector('[data-cy="data-row-title"]')),
    text(row.querySelector('[data-cy="data-row-detail-line"]') || document.createElement('i')),
  ]);
  const canvas = lines.canvas;
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  copy.getContext('2d').drawImage(canvas, 0, 0);
  const data = copy.getContext('2d').getImageData(0, 0, copy.width, copy.height).data;
  let lit = 0;
  for (let n = 0; n < data.length; n += 4) if (data[n] > 40) lit += 1;
  const { voiRange } = slices.getProperties();
  return {
    rows,
    ends: Object.fromEntries(measurements.filter((m) => m.toolName === 'Length').map((m) => [m.label, m.points.map(screen)])),
    points: Object.fromEntries(measurements.map((m) => [m.label, m.points])),
    texts: all('svg.svg-layer text').map((t) => [all('tspan', t).map(text), box(t)]),
    panes: [box(lines.element), box(slices.element)],
    overlays: all('[data-cy="viewport-overlay-top-left"]').map(text),
    card: text(document.querySelector('[data-cy="lumbar-card"]')),
    links: all('[data-cy="lumbar-card"] a').map((a) => a.href),
    segments: all('[data-cy="data-row-title"]').map(text),
    slice: slices.getCurrentImageId(),
    window: [voiRange.lower, voiRange.upper],
    lit: lit / (data.length / 4),
  };
}"""


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


def keep_picture(name: str, content: bytes) -> None:
    """Keep a screenshot where the environment names a folder for them."""
    if PICTURES and name:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        (Path(PICTURES) / f"{name}.png").write_bytes(content)


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """Pixels of a PNG (rows, columns, 3)."""
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(BytesIO(content)).convert("RGB"))


def near(
    pixels: NDArray[np.uint8], point: Sequence[float], colour: Sequence[int], reach: int = 4
) -> float:
    """Distance in colour of the pixel next to a point (x, y) that is most like a colour."""
    x, y = (round(v) for v in point)
    part = pixels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].astype(int)
    return float(np.abs(part - np.array(colour)).max(axis=-1).min())


def count_of(pixels: NDArray[np.uint8], box: Sequence[float], colour: Sequence[int]) -> int:
    """Number of pixels in a box (left, top, right, bottom) that have a colour."""
    left, top, right, bottom = (round(v) for v in box)
    part = pixels[top:bottom, left:right].astype(int)
    return int((np.abs(part - np.array(colour)).max(axis=-1) < 14).sum())


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def crosses(box: Sequence[float], ends: Sequence[Sequence[float]]) -> bool:
    """Whether a line between two points passes a box."""
    along = np.linspace(ends[0], ends[1], 60)
    inside = (
        (along[:, 0] > box[0])
        & (along[:, 0] < box[2])
        & (along[:, 1] > box[1])
        & (along[:, 1] < box[3])
    )
    return bool(inside.any())


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
