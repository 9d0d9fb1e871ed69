"""Real pixels of every kind of input: what is stored is what the networks found, at the same patient points."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy.ndimage import map_coordinates

from dicomseg.encode.uids import Identity
from dicomseg.read.header import read_instance
from dicomseg.read.series import Grid, assemble
from dicomseg.segmentation import Segmentation
from model.bundle.load import LoadedModel, load_bundle
from model.segment import segment
from node.work import pipeline
from tests.support.encoded import enhanced
from tests.support.exactness import drawn_differences, voxel_differences
from tests.support.paths import ROOT
from tests.support.random_series import points_of_image

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(600)]

INPUTS = {
    "sagittal slab": ("spider/5.image.nii.gz", ()),
    "axial slab": ("spider/110.image.nii.gz", ("--axial",)),
    "odd matrix with vessels": ("real_t2/04.image.nii.gz", ()),
    "enhanced": ("spider/11.image.nii.gz", ()),
}


@pytest.fixture(scope="module")
def shipped() -> LoadedModel:
    """The model that the node comes with."""
    return load_bundle(ROOT / "model" / "bundles" / "lumbar-l45")


def as_enhanced(files: list[Path], folder: Path) -> list[Path]:
    """The series as one multi-frame object, frames in no order."""
    slices = [pydicom.dcmread(file) for file in files]
    order = np.random.default_rng(3).permutation(len(slices))
    slices = [slices[n] for n in order]
    pixels = [ds.PixelData for ds in reversed(slices)]
    ds = enhanced(slices, shared=True)
    ds.PixelData = b"".join(pixels)
    ds.save_as(folder / "enhanced.dcm", enforce_file_format=True)
    return [folder / "enhanced.dcm"]


def images_of(files: list[Path], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Patient points (slices, rows, columns, 3) and greys of the images in the order of the grid."""
    sets = {str(ds.SOPInstanceUID): ds for ds in (pydicom.dcmread(file) for file in files)}
    if not grid.frame_order:
        images = [sets[i.sop_instance_uid] for i in grid.instances]
        greys = [ds.pixel_array for ds in images]
    else:
        (whole,) = sets.values()
        images = [_frame(whole, number) for number in grid.frame_order]
        greys = [whole.pixel_array[number] for number in grid.frame_order]
    return np.stack([points_of_image(one) for one in images]), np.stack(greys)


def _frame(whole: Dataset, number: int) -> Dataset:
    """The geometry of one frame as that of an image."""
    shared, groups = (
        whole.SharedFunctionalGroupsSequence[0],
        whole.PerFrameFunctionalGroupsSequence[number],
    )
    one = Dataset()
    one.ImagePositionPatient = groups.PlanePositionSequence[0].ImagePositionPatient
    one.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    one.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    one.Rows, one.Columns = whole.Rows, whole.Columns
    return one


@pytest.mark.parametrize("name", INPUTS)
def test_stored_labels_are_those_of_the_networks(
    name: str,
    shipped: LoadedModel,
    wrap: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, options = INPUTS[name]
    files = wrap(volume, tmp_path / "series", *options)
    files = as_enhanced(files, tmp_path) if name == "enhanced" else files
    found: list[Segmentation] = []

    def keep(*arguments: object) -> object:
        answer = segment(*arguments)  # type: ignore[arg-type]
        found.append(answer)  # type: ignore[arg-type]
        return answer

    monkeypatch.setattr(pipeline, "segment", keep)
    grid = assemble([read_instance(file) for file in files])
    assert isinstance(grid, Grid), grid
    settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))
    done = pipeline.process_series(
        grid, shipped, settings, lambda: datetime(2030, 1, 2, tzinfo=UTC)
    )
    assert isinstance(done, pipeline.Processed), done
    places, greys = images_of(files, grid)
    sides = found[0].sides.array
    assert len(np.unique(sides)) > 4, "both vertebrae, the disc and the dural sac are in view"
    true = places[sides > 0], sides[sides > 0].astype(np.int64)
    assert voxel_differences(done.files["seg.dcm"], true) == []
    image, report = (
        pydicom.dcmread(BytesIO(done.files[n])) for n in ("midplane.dcm", "measurements.dcm")
    )
    assert drawn_differences(report, image, json.loads(done.files["result.json"])) == []
    assert grey_error(image, places, greys) < 0.75


def grey_error(image: Dataset, places: np.ndarray, greys: np.ndarray) -> float:
    """Largest difference of a picture from the trilinear value of the images at the same patient point."""
    steps = np.stack([places[1, 0, 0], places[0, 1, 0], places[0, 0, 1]]) - places[0, 0, 0]
    lps = points_of_image(image).reshape(-1, 3)
    index = (lps - places[0, 0, 0]) @ np.linalg.inv(steps)
    inside = np.all((index >= 0) & (index <= np.array(greys.shape) - 1), axis=1)
    assert inside.sum() > 1000
    stored = np.frombuffer(image.PixelData, np.uint16).astype(float)
    value = stored * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
    true = map_coordinates(greys.astype(float), index[inside].T, order=1)
    return float(np.abs(value[inside] - true).max())
