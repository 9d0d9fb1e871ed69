"""Draws docs/images/result.png: the page of a synthetic patient, and the same result in OHIF beside it.

`python docs/result.py [--seed 12] [--bundle BUNDLE]` starts an Orthanc, OHIF and Chromium of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import httpx
import pydicom
from page import BUNDLE, process
from PIL import Image
from playwright.sync_api import sync_playwright

from dicomseg.encode.pictures import encode_pictures
from dicomseg.encode.result_folder import encode_all
from node.demo import ohif, servers
from node.demo.environment import OHIF
from node.free_ports import free_ports
from training.phantom.study import StudyOptions, write_study

PICTURE: Final = Path(__file__).parent / "images" / "result.png"
CHROMIUM: Final = "/usr/bin/chromium"
SCREEN: Final = {"width": 1280, "height": 720}
GAP: Final = 12
LARGEST: Final = 700_000
"""Bytes of a picture that a page of text can carry."""
SHOWN: Final = (
    "() => window.services && services.measurementService.getMeasurements().length === 4"
    " && services.segmentationService.getSegmentationRepresentations('lumbar-slices').length > 0"
)


def _screen(objects: Sequence[bytes], study: str, folder: Path) -> Image.Image:
    """Show a study in OHIF; returns the viewports and the panel of the result."""
    dist = ohif.built(OHIF)
    if dist is None:
        raise SystemExit(f"OHIF is not in {OHIF}; sh orthanc/ohif.sh {OHIF} fetches it")
    ports = servers.Ports(*free_ports(4))
    (port,) = free_ports(1)
    orthanc = servers.start_orthanc(folder / "orthanc", ports)
    try:
        with httpx.Client(base_url=ports.pacs_url, timeout=60) as pacs:
            for content in objects:
                pacs.post("/instances", content=content).raise_for_status()
        viewer = ohif.serve(ohif.application(dist, ohif.SCRIPTS, ports.pacs_url), port)
        try:
            return _photograph(viewer.link(study))
        finally:
            viewer.stop()
    finally:
        servers.stop(orthanc)


def _photograph(link: str) -> Image.Image:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SCREEN)
        page.goto(link)
        page.wait_for_function(SHOWN, timeout=120_000)
        page.wait_for_timeout(3000)
        left = page.evaluate(
            "() => document.querySelector('[data-viewportid=\"lumbar-lines\"]').getBoundingClientRect().left"
        )
        screen = Image.open(BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    return screen.crop((round(left), 0, screen.width, screen.height))


def _page(files: Mapping[str, bytes]) -> Image.Image:
    return Image.fromarray(pydicom.dcmread(BytesIO(files["summary.dcm"])).pixel_array)


def main() -> None:
    """Make the result, show it, and put both pictures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = write_study(folder / "study", options.seed, StudyOptions()) / "t2_space"
        run = process(series, options.bundle)
        files = encode_all(run) | encode_pictures(run)
        objects = [content for file, content in files.items() if file.endswith(".dcm")]
        images = [path.read_bytes() for path in sorted(series.glob("*.dcm"))]
        screen = _screen([*images, *objects], run.result.source.study, folder)
    page = _page(files)
    page = page.resize(
        (round(page.width * screen.height / page.height), screen.height), Image.Resampling.LANCZOS
    )
    both = Image.new("RGB", (page.width + GAP + screen.width, screen.height), "white")
    both.paste(page, (0, 0))
    both.paste(screen, (page.width + GAP, 0))
    both.save(PICTURE, optimize=True)
    if PICTURE.stat().st_size > LARGEST:
        raise SystemExit(f"{PICTURE} has {PICTURE.stat().st_size} bytes, more than {LARGEST}")


if __name__ == "__main__":
    main()
