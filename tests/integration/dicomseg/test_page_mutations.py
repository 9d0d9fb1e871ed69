"""Faults of the page that leave it a page: what it shows is compared with the patient, as pixels and as PDF."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomseg.draw import planar
from dicomseg.draw.drawing import Drawing, Scene, draw_pictures, draw_surfaces
from dicomseg.encode import pdf, secondary_capture
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.pictures import reading
from dicomseg.segmentation import Labels
from dicomseg.volume import Volume
from tests.support.exactness import page_differences
from tests.support.pages import GREYS, grey_volume, patient
from tests.support.studio import Studio

pytestmark = pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="needs poppler-utils")


@cache
def inputs() -> EncodeInput:
    """The patient of closed form as a series with headers."""
    seg, measured = patient()
    labels = Labels(
        Volume(seg.labels.volume.array, seg.labels.volume.affine), seg.labels.analysed_mask
    )
    studio = Studio(
        replace(seg, labels=labels, sides=Volume(seg.sides.array, seg.sides.affine)), measured
    )
    made = studio.inputs(studio.slices())
    grey = Volume(grey_volume(seg).array, made.source.volume.affine)
    return replace(made, source=replace(made.source, volume=grey))


def grey_at(lps: np.ndarray) -> np.ndarray:
    """Greys (n) of the patient at LPS points (n, 3), NaN outside; the brightest as white as the page's."""
    labels = inputs().segmentation.labels.volume
    index = np.rint((lps - labels.affine[:3, 3]) @ np.linalg.inv(labels.affine[:3, :3]).T).astype(
        int
    )
    inside = np.all((index >= 0) & (index < np.array(labels.shape)), axis=-1)
    grey = np.full(len(lps), np.nan)
    grey[inside] = GREYS[labels.array[tuple(index[inside].T)]]
    return np.minimum(grey, 330)


def noticed(page: Drawing, folder: Path) -> set[str]:
    """Which of both stored pages shows something else than the patient."""
    summary = pydicom.dcmread(BytesIO(to_bytes(secondary_capture.encode(inputs(), page.rgb))))
    report = pydicom.dcmread(BytesIO(to_bytes(pdf.encode(inputs(), page.pdf, "page"))))
    (folder / "page.pdf").write_bytes(report.EncapsulatedDocument)
    command = ["pdftoppm", "-r", "100", "-png", "-singlefile", folder / "page.pdf", folder / "page"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(folder / "page.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    plane = inputs().result.measurements.plane
    assert plane is not None
    axes, middle = np.array([plane.e_left, plane.e_back]), np.zeros(3)
    pages = {"summary": summary.pixel_array, "report": drawn}
    return {n for n, rgb in pages.items() if page_differences(rgb, grey_at, middle, axes)}


@cache
def drawn_page() -> Drawing:
    return draw()


def draw() -> Drawing:
    scene = Scene(inputs().source.volume, inputs().segmentation)
    return draw_pictures(scene, reading(inputs(), "en"), draw_surfaces(scene))


FAULTS: dict[str, tuple[Callable[[Drawing], Drawing], set[str]]] = {
    "none": (lambda page: page, set()),
    "picture mirrored": (lambda page: replace(page, rgb=page.rgb[:, ::-1]), {"summary"}),
    "picture upside down": (lambda page: replace(page, rgb=page.rgb[::-1]), {"summary"}),
    "PDF upside down": (
        lambda page: replace(page, pdf=page.pdf.replace(b"/Type /Page ", b"/Type /Page /Rotate 180 ")),
        {"report"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_is_turned_is_noticed(fault: str, tmp_path: Path) -> None:
    change, where = FAULTS[fault]
    assert noticed(change(drawn_page()), tmp_path) == where


def test_mirrored_panels_are_noticed_in_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = planar.to_rgb
    monkeypatch.setattr(planar, "to_rgb", lambda *a: np.ascontiguousarray(right(*a)[:, ::-1]))
    page = draw()
    assert noticed(page, tmp_path) == {"summary", "report"}
