"""A synthetic series of simple shapes, to take every step once before the first patient's does.

Its grey values encode the labels (`model.engines.coded`), so that the complete path runs without a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicomseg.encode.uids import make_uid
from dicomseg.read import header as headers
from dicomseg.read.series import Grid, assemble
from dicomseg.segmentation import EngineInfo
from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from model.engines.coded import CodedEngine, CodedFinder, encode_labels
from node.errors import NothingEligible

SHAPE: Final = (40, 112, 144)
"""Slices, rows, columns of 1 mm."""
_DISC_HALF_MM: Final = 5.0
TUBES: Final[tuple[tuple[StructureId, float, float, float, float], ...]] = (
    ("dura", 1.0, 27.0, 8.0, 6.0),
    ("n4", 20.0, 22.0, 2.5, 2.5),
    ("n4", -19.0, 22.0, 2.5, 2.5),
    ("aa", 14.0, -29.0, 7.0, 6.0),
    ("pm", 40.0, -4.0, 13.0, 15.0),
    ("pm", -41.0, -6.0, 14.0, 16.0),
    ("ivc", -19.0, -25.0, 10.0, 7.0),
)
"""Structure, centre towards left and back of the disc's, half axes in mm."""


def trial_model() -> LoadedModel:
    """Return the model that decodes the series."""
    info = EngineInfo("trial", "1", "0" * 64, CodedEngine.name, CodedEngine.precision)
    return LoadedModel(info, CodedEngine(), CodedFinder(), {}, {})


def write_trial(folder: Path) -> Grid:
    """Write the series into an empty folder and read its headers."""
    instances = []
    for number, slice_ in enumerate(_voxels(), 1):
        path = folder / f"{number}.dcm"
        _dataset(number, slice_).save_as(path, enforce_file_format=True)
        instances.append(headers.read_instance(path))
    grid = assemble(instances)
    if not isinstance(grid, Grid):
        raise NothingEligible(f"the trial series is not regular: {grid.text}")
    return grid


def _voxels() -> Iterator[Array]:
    """Yield the coded slices from the feet up."""
    _, rows, columns = SHAPE
    back, left = np.meshgrid(
        np.arange(rows) - rows * 0.55, np.arange(columns) - columns / 2, indexing="ij"
    )
    flat = np.full((CHANNELS, rows, columns), -30.0)
    flat[0] = 0.0
    for name, x, y, a, b in TUBES:
        value = BY_ID[name].value
        flat[value] = np.maximum(flat[value], _inside(left - x, back - y, a, b))
    body = _inside(left, back, 25.0, 18.0)
    for height in np.arange(SHAPE[0]) - SHAPE[0] / 2 + 0.5:
        levels = flat.copy()
        above = height - _DISC_HALF_MM
        below = -height - _DISC_HALF_MM
        levels[BY_ID["ivd"].value] = np.minimum(body, -max(above, below))
        levels[BY_ID["l4"].value] = np.minimum(body, above)
        levels[BY_ID["l5"].value] = np.minimum(body, below)
        order = np.argsort(levels, axis=0)
        best, next_best = order[-1], order[-2]
        lead = np.take_along_axis(levels, order[-1:], 0) - np.take_along_axis(
            levels, order[-2:-1], 0
        )
        yield encode_labels(best.astype(np.uint8), next_best.astype(np.uint8), lead[0])


def _inside(x: Array, y: Array, a: float, b: float) -> Array:
    """Return about how many mm a point lies inside an ellipse."""
    return np.asarray((1 - np.hypot(x / a, y / b)) * min(a, b))


def _dataset(number: int, pixels: Array) -> Dataset:
    _, rows, columns = SHAPE
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, make_uid("trial", number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = make_uid("trial study"), make_uid("trial series")
    ds.FrameOfReferenceUID = make_uid("trial frame")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Trial", "TRIAL", "", ""
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "120000", "", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 1, number
    ds.Manufacturer, ds.SeriesDescription = "lumbar-node", "trial"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "SE", "SK", "3D"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-columns / 2, -rows / 2, float(number)]
    ds.PixelSpacing, ds.SliceThickness = [1.0, 1.0], 1.0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = pixels.astype("<u2").tobytes()
    return ds
