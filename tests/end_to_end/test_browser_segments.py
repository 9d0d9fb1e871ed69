"""OHIF holds the segments voxel by voxel as they were written, also where a frame ends within a byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicomseg.encode import seg
from dicomseg.encode.context import to_bytes
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.seg_form import LABELMAP, Form
from tests.support.browser import Archive, Look, run_of

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

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

PER_FRAME = "full-instance prefetch failed; falling back to per-frame loads"
"""OHIF warns so where the object's length is odd and padded; it then asks for each frame, which Orthanc has."""


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
    archive: Archive,
    look: Look,
    small_coded: Any,
    oracle_bundle: Path,
    tmp_path: Path,
    form: Form | None,
) -> None:
    files = _odd(small_coded.files, tmp_path)
    run = run_of(files, oracle_bundle)
    results = encode_all(run)
    if form is not None:
        results["seg.dcm"] = to_bytes(seg.encode(run, form))
    name = "odd" if form is None else f"odd-{form.kind}{'-rle' * form.rle}"
    with archive.holding({file.name: file.read_bytes() for file in files}, results):
        seen = look(archive.viewer.link("2.25.77"), name, HISTOGRAMS)
    sides = run.segmentation.sides.array
    true = [
        {str(n): int((one == n).sum()) for n in range(1, 11) if (one == n).any()} for one in sides
    ]
    assert sides.shape[1] * sides.shape[2] % 8 != 0
    assert seen.answer in (true, true[::-1])
    assert [line for line in seen.console if PER_FRAME not in line] == []
