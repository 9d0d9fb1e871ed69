"""The segmentation lies on its source, names its images, and reads the same elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    SegmentationStorage,
)

from tests.support.encoded import enhanced, errors_of, read

pytestmark = pytest.mark.process  # dciodvfy judges what is written


# ---- geometry ------------------------------------------------------------------------------------


def labels_of(files: dict[str, bytes], studio: Any) -> np.ndarray:
    """Segment numbers on the grid of the segmentation, read back by highdicom."""
    seg = hd.seg.segread(BytesIO(files["seg.dcm"]))
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    sides = studio.found.sides
    out = np.zeros(sides.shape, np.uint8)
    index = np.argwhere(volume.array > 0)
    lps = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    at = np.round(sides.to_index(lps)).astype(int)
    assert np.abs(sides.to_index(lps) - at).max() < 0.01
    out[tuple(at.T)] = volume.array[tuple(index.T)]
    return out


FORMS: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "classic": list,
    "shared": lambda slices: [enhanced(slices, shared=True)],
    "per frame": lambda slices: [enhanced(slices, shared=False)],
    "a file per frame": lambda slices: [enhanced([one], shared=False) for one in slices],
}


@pytest.mark.parametrize("form", FORMS)
def test_segments_lie_on_the_source_and_name_its_images(
    studio: Any, tmp_path: Path, form: str
) -> None:
    slices = studio.slices()
    whole = FORMS[form](slices)
    files = studio.encode(whole)
    assert errors_of(files, tmp_path) == []
    assert np.array_equal(labels_of(files, studio), studio.found.sides.array)
    seg = read(files)["seg.dcm"]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert item.ReferencedSOPClassUID == whole[0].SOPClassUID
        if len(whole) == 1:
            n = len(slices) - item.ReferencedFrameNumber
        else:
            n = int(item.ReferencedSOPInstanceUID.rsplit(".", 1)[-1]) - 1
        assert np.allclose(position, np.array(slices[n].ImagePositionPatient, float), atol=1e-4)
    referenced = [i.ReferencedSOPInstanceUID for i in seg.SourceImageSequence]
    assert set(referenced) == {str(ds.SOPInstanceUID) for ds in whole}


@pytest.mark.parametrize(
    ("rows", "columns", "form"),
    [(72, 101, "BINARY"), (70, 100, "BINARY"), (71, 101, "FRACTIONAL"), (70, 99, "FRACTIONAL")],
)
def test_frames_end_at_whole_bytes(
    studio: Any, tmp_path: Path, rows: int, columns: int, form: str
) -> None:
    small = studio.cropped(rows, columns)
    files = small.encode(small.slices())
    seg = read(files)["seg.dcm"]
    assert (seg.SegmentationType, seg.Rows, seg.Columns) == (form, rows, columns)
    assert seg.Rows * seg.Columns * seg.BitsAllocated % 8 == 0
    assert seg.SOPClassUID == SegmentationStorage
    assert np.array_equal(labels_of(files, small), small.found.sides.array)
    assert errors_of(files, tmp_path) == []
    assert len(np.unique(small.found.sides.array)) == 3
    assert _voxels_by_dcmqi(files, tmp_path) == {
        n: int((small.found.sides.array == n).sum()) for n in range(1, 11)
    }


def _voxels_by_dcmqi(files: dict[str, bytes], folder: Path) -> dict[int, int]:
    """How many voxels dcmqi reads of every segment."""
    sitk = pytest.importorskip("SimpleITK")
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("needs dcmqi")
    (folder / "seg.dcm").write_bytes(files["seg.dcm"])
    command = [
        program,
        "--inputDICOM",
        folder / "seg.dcm",
        "--outputDirectory",
        folder,
        "--outputType",
        "nrrd",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    read_back = {
        int(p.stem): sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in folder.glob("*.nrrd")
    }
    return {n: int(np.count_nonzero(array)) for n, array in read_back.items()}


def test_a_slightly_sheared_stack_is_encoded(studio: Any, tmp_path: Path) -> None:
    """A drift that `assemble` allows as rounding, at which highdicom's volume refuses."""
    grid = studio.found.sides
    drift = 0.04 * grid.spacing_mm[1]
    sheared = studio.sheared(drift)
    files = sheared.encode(sheared.slices())
    assert errors_of(files, tmp_path) == []
    seg = read(files)["seg.dcm"]
    stored = {
        tuple(f.PlanePositionSequence[0].ImagePositionPatient)
        for f in seg.PerFrameFunctionalGroupsSequence
    }
    source = {tuple(ds.ImagePositionPatient) for ds in sheared.slices()}
    gap = [min(np.abs(np.subtract(a, b)).max() for b in source) for a in stored]
    assert max(gap) < 1e-3
