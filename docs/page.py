"""Draws the page to plan with, and the surfaces, of a synthetic patient or of a series.

`python docs/page.py OUT [--seed 77] [--series FOLDER] [--bundle BUNDLE] [--language en]` writes `page.png`,
`report.pdf` and the files of `dicomseg.encode.pictures` into OUT; `--picture FILE` a small picture for documents.
`--repeat 7` also prints the CPU seconds of each part: the median of that many warm runs, and the least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
from PIL import Image

from dicomseg.draw.languages import LANGUAGES
from dicomseg.draw.page import PageInput, compose
from dicomseg.draw.surface import build_surfaces
from dicomseg.encode.context import EncodeInput, own_text
from dicomseg.encode.gather import build_result
from dicomseg.encode.midplane_image import plane_to_show
from dicomseg.encode.pictures import encode_pictures, heading
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, result_key
from dicomseg.measure.measure import measure
from dicomseg.read.header import read_instance
from dicomseg.read.pixels import read_source
from dicomseg.read.series import Grid, assemble
from dicomseg.segmentation import NotInView
from model.bundle.load import load_bundle
from model.segment import segment
from node.program import program_version
from training.phantom.study import StudyOptions, write_study

WIDTH = 1100
"""Columns of the picture for documents, in 256 colours."""
BUNDLE = Path(__file__).resolve().parents[1] / "model" / "bundles" / "lumbar-l45"


def process(series: Path, bundle: Path) -> EncodeInput:
    """Segment and measure one series; returns what the encoders are given."""
    grid = assemble([read_instance(path) for path in sorted(series.glob("*.dcm"))])
    if not isinstance(grid, Grid):
        raise SystemExit(f"{series}: {grid.text}")
    source, model = read_source(grid), load_bundle(bundle)
    identity = Identity("lumbar-node", "lumbar-node", program_version(), "1", "")
    headers = sanitised_headers(source, own_text(identity))
    segmentation = segment(source.volume, model)
    if isinstance(segmentation, NotInView):
        raise SystemExit(f"{series}: {segmentation.reason}")
    measurements = measure(segmentation, model.model_errors or None)
    key = result_key(grid.instances, model.info, "", program_version())
    now = datetime.now(UTC)
    result = build_result(source, headers, segmentation, measurements, key, now, {})
    return EncodeInput(result, source, segmentation, key, headers, identity, now)


def reduced(page: Image.Image) -> Image.Image:
    """Return the page small enough for a document."""
    size = (WIDTH, round(page.height * WIDTH / page.width))
    small = page.resize(size, Image.Resampling.LANCZOS)
    return small.quantize(256, method=Image.Quantize.FASTOCTREE)


def times(inputs: EncodeInput, language: str, repeat: int) -> dict[str, list[float]]:
    """Return the CPU seconds of drawing, by part, of warm runs."""
    taken: dict[str, list[float]] = {}

    def lap(name: str) -> None:
        taken.setdefault(name, []).append(time.process_time() - start)

    for _ in range(repeat + 1):
        start = time.process_time()
        meshes = build_surfaces(inputs.segmentation.sides)
        lap("surfaces")
        seg, result = inputs.segmentation, inputs.result
        shown = plane_to_show(result.measurements.plane, result.level)
        texts, head = LANGUAGES[language], heading(inputs)
        start = time.process_time()
        sheet = compose(PageInput(inputs.source.volume, seg, result, shown, meshes, head, texts))
        lap("page set")
        start = time.process_time()
        sheet.pixels()
        lap("pixels")
        start = time.process_time()
        sheet.pdf(texts.title)
        lap("PDF")
        start = time.process_time()
        encode_pictures(inputs, language)
        lap("all files")
    return {name: seconds[1:] for name, seconds in taken.items()}


def main() -> None:
    """Draw one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--language", choices=list(LANGUAGES), default="en")
    parser.add_argument("--repeat", type=int, default=0)
    options = parser.parse_args()
    out: Path = options.out
    series = options.series
    if series is None:
        series = write_study(out / "study", options.seed, StudyOptions()) / "t2_space"
    inputs = process(series, options.bundle)
    for name, content in encode_pictures(inputs, options.language).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if name == "summary.dcm":
            page = Image.fromarray(pydicom.dcmread(BytesIO(content)).pixel_array)
            page.save(out / "page.png")
            if options.picture is not None:
                reduced(page).save(options.picture, optimize=True)
        if name == "report.dcm":
            ds = pydicom.dcmread(BytesIO(content))
            pdf = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
            (out / "report.pdf").write_bytes(pdf)
    if options.repeat:
        for name, seconds in times(inputs, options.language, options.repeat).items():
            middle, least = statistics.median(seconds), min(seconds)
            sys.stdout.write(f"{name:9} {middle:5.2f} s, least {least:5.2f} s\n")


if __name__ == "__main__":
    main()
