"""OHIF in Chromium shows what the node made: named lines, reasons of refused values, and the segments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from dicomseg.encode import seg
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.seg_form import LABELMAP, Form
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.read import header as headers
from dicomseg.read import series
from dicomseg.result import Refusal
from model.bundle.load import load_bundle
from node.demo import ohif, servers
from node.work import pipeline
from tests.support.paths import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

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
    served = ohif.serve(ohif.application(dist, servers.home() / "ohif", here.ports.pacs_url), port)
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
        page.goto(served.link(coded.facts["study_uid"]))
        page.wait_for_function(
            "() => window.services && services.measurementService.getMeasurements().length === 4"
            " && services.segmentationService.getSegmentations().length > 0",
            timeout=120_000,
        )
        page.wait_for_selector("svg.svg-layer line", timeout=60_000, state="attached")
        labels = page.evaluate(
            "() => services.measurementService.getMeasurements().map(m => m.label).sort()"
        )
        rows = page.evaluate(
            "() => services.measurementService.getMeasurements().map(m => m.displayText.primary[0])"
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
    assert [re.split("[, ]", label)[0] for label in labels] == ["DAA", "DIVC", "OC", "PI"]
    assert all(re.search(r"\d (± [\d.]+|\([\d.]+ to [\d.]+\)) mm", row) for row in rows)
    assert {"L4/5 disc", "Psoas major, left", "Psoas major, right"} <= set(segments)
    for label, points in lengths:
        (a, b) = points
        length = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5
        value = coded.facts["measurements"][re.split("[, ]", label)[0]]["value_mm"]
        assert abs(length - value) < 0.1
    assert [s for s in said if not s.startswith(HARMLESS)] == []


# ---- refused values ------------------------------------------------------------------------------

LEFT = """() => {
  const canvas = document.querySelectorAll('[data-cy="viewport-pane"] canvas')[0];
  const copy = document.createElement('canvas');
  copy.width = canvas.width; copy.height = canvas.height;
  const context = copy.getContext('2d');
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data;
  let bright = 0;
  for (let n = 0; n < data.length; n += 4) if (data[n] > 40) bright++;
  return bright / (data.length / 4);
}"""
"""Share of the left viewport's pixels that are not black."""


def _run_of(files: Sequence[Path], oracle_bundle: Path) -> EncodeInput:
    """What the encoders get for a series, made by the real way with the oracle as its network."""
    grid = series.assemble([headers.read_instance(f) for f in files])
    assert isinstance(grid, series.Grid)
    runs: list[EncodeInput] = []

    def keep(run: EncodeInput, *_: Any) -> dict[str, bytes]:
        runs.append(run)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "encode_all", keep)
        settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))
        model = load_bundle(oracle_bundle)
        pipeline.process_series(grid, model, settings, lambda: datetime(2026, 1, 2, tzinfo=UTC))
    return runs[0]


@pytest.fixture(scope="module")
def encode_with(coded: Any, oracle_bundle: Path) -> Callable[[Sequence[str]], dict[str, bytes]]:
    """Results of the coded phantom in which the named values are refused; segmented once."""
    run = _run_of(coded.files, oracle_bundle)

    def encode(refused: Sequence[str]) -> dict[str, bytes]:
        refusal = Refusal(
            "cut_by_image", "truncated at the image border; enlarge the field of view"
        )
        main = {
            name: replace(m, value_mm=None, points_lps=None, refusal=refusal)
            if name in refused
            else m
            for name, m in run.result.measurements.main.items()
        }
        measured = replace(run.result.measurements, main=main)
        key = ResultKey("-".join(refused) or "none")
        return encode_all(replace(run, result=replace(run.result, measurements=measured), key=key))

    return encode


@pytest.fixture(scope="module")
def pacs(coded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Ports]:
    """An Orthanc that holds the images of the coded phantom."""
    if servers.find_orthanc() is None or shutil.which("storescu") is None:
        pytest.skip("needs Orthanc and DCMTK (apt install orthanc-dicomweb dcmtk)")
    ports = servers.Ports(*servers.free_ports(4))
    running = servers.start_orthanc(tmp_path_factory.mktemp("orthanc"), ports)
    try:
        _store(ports, coded.files)
        yield ports
    finally:
        servers.stop(running)


def _store(ports: servers.Ports, files: Sequence[Path]) -> None:
    called = [
        "-aet",
        servers.SCANNER_AET,
        "-aec",
        servers.PACS_AET,
        "127.0.0.1",
        str(ports.pacs_dicom),
    ]
    command = ["storescu", "-R", *called, *map(str, files)]
    subprocess.run(
        command, env=servers.dcmtk_environment(), check=True, capture_output=True, timeout=120
    )


def _forget(ports: servers.Ports, files: Sequence[Path]) -> None:
    """Delete the series of these objects, so that the next result is alone in the study."""
    with httpx.Client(base_url=ports.pacs_url) as client:
        for file in files:
            series_uid = pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID
            for found in client.post("/tools/lookup", content=series_uid).json():
                client.delete(found["Path"]).raise_for_status()


@dataclass(frozen=True)
class Seen:
    """What a page shows: its measurements (tool, label), its texts, how much of the left is lit, its console, an answer."""

    listed: list[tuple[str, str]]
    drawn: str
    lit: float
    said: list[str]
    asked: Any


def look(link: str, picture: str, question: str = "() => null") -> Seen:
    """Open a link, wait for four measurements and the segments, and ask the page."""
    api = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox"]
        )
        page = browser.new_context(viewport={"width": 1600, "height": 900}).new_page()
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(link)
        page.wait_for_function(
            "() => window.services && services.measurementService.getMeasurements().length === 4"
            " && services.segmentationService.getSegmentations().length > 0",
            timeout=120_000,
        )
        page.wait_for_selector("svg.svg-layer text", timeout=60_000, state="attached")
        page.wait_for_timeout(3000)
        listed = page.evaluate(
            "() => services.measurementService.getMeasurements().map(m => [m.toolName, m.label])"
        )
        drawn = " ".join(page.locator("svg.svg-layer text").all_text_contents())
        lit, asked = page.evaluate(LEFT), page.evaluate(question)
        if os.environ.get("OHIF_PICTURE"):
            page.screenshot(path=os.environ["OHIF_PICTURE"].replace(".png", f"-{picture}.png"))
        browser.close()
    return Seen([(tool, label) for tool, label in listed], drawn, lit, said, asked)


@pytest.mark.parametrize(
    "refused",
    [(), ("OC",), ("PI",), ("OC", "DAA", "DIVC", "PI")],
    ids=lambda r: "+".join(r) or "none",
)
def test_a_refused_value_hides_nothing(
    pacs: servers.Ports,
    coded: Any,
    encode_with: Callable[[Sequence[str]], dict[str, bytes]],
    tmp_path: Path,
    refused: tuple[str, ...],
) -> None:
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None or not Path(CHROMIUM).exists():
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif) and Chromium")
    paths = []
    for name, content in encode_with(refused).items():
        if name.endswith(".dcm"):
            paths.append(tmp_path / name)
            paths[-1].write_bytes(content)
    _store(pacs, paths)
    (port,) = servers.free_ports(1)
    app = ohif.application(dist, servers.home() / "ohif", pacs.pacs_url)
    served = ohif.serve(app, port)
    try:
        seen = look(served.link(coded.facts["study_uid"]), "-".join(refused) or "none")
    finally:
        served.stop()
        _forget(pacs, paths)
    assert seen.lit > 0.05
    texts = {name: f"{name} not measured: truncated at the image border" for name in refused}
    expected = [
        ("ArrowAnnotate", texts[name]) if name in texts else ("Length", name)
        for name in ("OC", "DAA", "DIVC", "PI")
    ]
    listed = [(t, re.split("[, ]", text)[0] if t == "Length" else text) for t, text in seen.listed]
    assert sorted(listed) == sorted(expected)
    assert [s for s in texts.values() if s not in seen.drawn] == []
    assert seen.drawn.count(" mm") == 4 - len(refused)
    assert [s for s in seen.said if not s.startswith(HARMLESS)] == []


# ---- frames that end within a byte -------------------------------------------------------------

HISTOGRAMS = """() => {
  const [held] = cornerstoneTools.segmentation.state.getSegmentations();
  return held.representationData.Labelmap.imageIds.map((id) => {
    const counts = {};
    for (const v of cornerstone.cache.getImage(id).voxelManager.getScalarData()) {
      if (v) counts[v] = (counts[v] || 0) + 1;
    }
    return counts;
  });
}"""
"""Voxels of every segment in every slice, as the page holds them, from the head down."""


def _odd(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same slices one row and one column smaller, as a series of its own: rows × columns is odd."""
    made = []
    for n, file in enumerate(files):
        ds = pydicom.dcmread(file)
        pixels = ds.pixel_array[
            : ds.Rows - 1 + ds.Rows % 2, : ds.Columns - 1 + ds.Columns % 2
        ].copy()
        ds.Rows, ds.Columns = pixels.shape
        ds.PixelData = pixels.tobytes()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.77", "2.25.771"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.7710{n}"
        made.append(folder / f"{n}.dcm")
        ds.save_as(made[-1], enforce_file_format=True)
    return made


@pytest.mark.parametrize(
    "form", [None, LABELMAP, Form("labelmap", rle=True), Form("fractional", rle=True)], ids=str
)
def test_segments_of_an_odd_matrix_are_exact(
    pacs: servers.Ports, coded: Any, oracle_bundle: Path, tmp_path: Path, form: Form | None
) -> None:
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None or not Path(CHROMIUM).exists():
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif) and Chromium")
    files = _odd(coded.files, tmp_path)
    run = _run_of(files, oracle_bundle)
    results = []
    for name, content in encode_all(run).items():
        if name.endswith(".dcm"):
            results.append(tmp_path / name)
            results[-1].write_bytes(content)
    if form is not None:  # storescu knows neither its class nor its transfer syntax
        (tmp_path / "seg.dcm").write_bytes(to_bytes(seg.encode(run, form)))
        with httpx.Client(base_url=pacs.pacs_url) as client:
            sent = client.post("/instances", content=(tmp_path / "seg.dcm").read_bytes())
            sent.raise_for_status()
    _store(pacs, [*files, *(p for p in results if form is None or p.name != "seg.dcm")])
    (port,) = servers.free_ports(1)
    served = ohif.serve(ohif.application(dist, servers.home() / "ohif", pacs.pacs_url), port)
    try:
        name = "odd" if form is None else f"odd-{form.kind}{'-rle' * form.rle}"
        seen = look(served.link("2.25.77"), name, HISTOGRAMS)
    finally:
        served.stop()
        _forget(pacs, results)
    sides = run.segmentation.sides.array
    true = [
        {str(n): int((one == n).sum()) for n in range(1, 11) if (one == n).any()} for one in sides
    ]
    assert sides.shape[1] * sides.shape[2] % 8 != 0
    assert seen.asked in (true, true[::-1])
    assert [s for s in seen.said if not s.startswith(HARMLESS)] == []
