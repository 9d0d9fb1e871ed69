"""`midplane.dcm`: the oblique mid-disc plane as a derived MR image, which the lines are drawn on."""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from scipy.ndimage import map_coordinates

from dicomseg.encode.context import EncodeInput, coded_concept, name_predecessor, new_object
from dicomseg.read import attributes
from dicomseg.read.instance import Instance
from dicomseg.result import Plane
from dicomseg.segmentation import Level
from dicomseg.volume import Array, Points, Volume, to_point

PIXEL_MM: Final = 0.5
SIZE_MM: Final = (160.0, 160.0)
"""Rows to the back and columns to the left; holds psoas and vessels of a large person."""
BACK_SHIFT_MM: Final = 5.0
"""The plane's centre lies this far in front of the image centre: vessels in front, muscles behind."""
MIN_GREY_LEVELS: Final = 1000.0
"""A rescaled source (slopes of 0.0002 are met) that spans fewer units would lose its greys in whole numbers."""
SPREAD: Final = 4095.0
"""Grey levels that such a picture is spread over: the twelve bits of most scanners."""
BOX_MM: Final = (50.0, 25.0, 50.0)
"""In front of the disc's centre, behind it, and to either side: psoas, vessels and disc. Its greys make the first
window; fat near the coil is far brighter and leaves them dark in a window of the complete picture."""
BOX_PERCENT: Final = (0.5, 98.0)
PICTURE_PERCENT: Final = (1.0, 99.0)
"""Percentiles of the greys that the two windows begin and end at: that of the box, and the complete picture's."""
WINDOWS: Final = ("disc and vessels", "complete picture")
SERIES_NUMBER: Final = 9002
_EMPTY: Final = (
    "ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength", "PatientPosition", "AcquisitionNumber",
    "PositionReferenceIndicator",
)  # fmt: skip
"""Attributes of type 2 of the MR Image IOD."""


def plane_to_show(plane: Plane | None, level: Level) -> Plane:
    """Return the measured plane, or one through the level's centre across its normal."""
    if plane is not None:
        return plane
    normal = np.array(level.normal)
    left = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    left /= np.linalg.norm(left)
    return Plane(
        level.centre_lps, to_point(normal), to_point(left), to_point(np.cross(normal, left))
    )


def image_plane(plane: Plane, source: Volume) -> Volume:
    """Return the geometry of the picture: a one-slice volume, rows to the back, columns to the patient's left.

    Clipped to what the source shows, so that a narrow slab gives a narrow picture.
    """
    left, back = np.array(plane.e_left), np.array(plane.e_back)
    corners = (
        np.array(np.meshgrid(*((-0.5, n - 0.5) for n in source.shape), indexing="ij"))
        .reshape(3, -1)
        .T
    )
    lps = source.to_patient(corners) - np.array(plane.point_lps)
    spans = []
    for axis, half, shift in ((back, SIZE_MM[0] / 2, BACK_SHIFT_MM), (left, SIZE_MM[1] / 2, 0.0)):
        along = lps @ axis
        low, high = max(-half + shift, float(along.min())), min(half + shift, float(along.max()))
        spans.append((low, max(high, low + 16 * PIXEL_MM)))
    rows, columns = (round((b - a) / PIXEL_MM) for a, b in spans)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (
        np.array(plane.normal),
        back * PIXEL_MM,
        left * PIXEL_MM,
    )
    affine[:3, 3] = (
        np.array(plane.point_lps)
        + back * (spans[0][0] + PIXEL_MM / 2)
        + left * (spans[1][0] + PIXEL_MM / 2)
    )
    return Volume(np.zeros((1, rows, columns), np.uint16), affine, source.frame_of_reference_uid)


def sample(source: Volume, grid: Volume) -> Array:
    """Sample the source on a one-slice grid: trilinear values (rows, columns), its minimum outside."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    ijk: Points = source.to_index(grid.to_patient(index)).reshape(-1, 3).T
    low = float(source.array.min())
    values = map_coordinates(
        source.array.astype(np.float32), ijk, order=1, mode="constant", cval=low
    )
    return np.asarray(values.reshape(grid.shape)[0])


def _spread(values: Array, *, rescaled: bool) -> Array:
    """Grey levels of the picture: the source's values, spread where integers would not distinguish them.

    No Modality LUT takes that back: a window narrower than 1 is none (PS3.3 C.11.2.1.2), and MR values have no unit.
    """
    low, span = float(values.min()), float(np.ptp(values))
    if not rescaled or span >= MIN_GREY_LEVELS or span == 0.0:
        return values
    return np.asarray((values - low) * (SPREAD / span))


def encode(inputs: EncodeInput) -> Dataset:
    """Encode the plane as one MR image in a series of its own."""
    source = inputs.source.volume
    plane = plane_to_show(inputs.result.measurements.plane, inputs.result.level)
    grid = image_plane(plane, source)
    values = _spread(sample(source, grid), rescaled=source.array.dtype.kind == "f")
    low, high = float(values.min()), float(values.max())
    shift = min(0.0, np.floor(low))
    slope = max(1.0, (high - shift) / 65535.0)
    stored = np.round((values - shift) / slope).astype(np.uint16)

    ds = new_object(
        inputs,
        MRImageStorage,
        "midplane",
        "MR",
        SERIES_NUMBER,
        "mid-disc plane",
    )
    ds.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    _acquisition(ds, inputs.headers.acquisition)
    ds.FrameOfReferenceUID = inputs.headers.frame_of_reference_uid
    ds.ImagePositionPatient = [f"{v:.8g}"[:16] for v in grid.affine[:3, 3]]
    ds.ImageOrientationPatient = [f"{v:.9f}"[:16] for v in (*plane.e_left, *plane.e_back)]
    ds.PixelSpacing = [str(PIXEL_MM), str(PIXEL_MM)]
    ds.SliceThickness = f"{min(source.spacing_mm):.6g}"
    _pixels(ds, stored, shift, slope)
    _windows(ds, values, around_disc(grid, plane))
    ds.BurnedInAnnotation = "NO"
    ds.DerivationDescription = "oblique reformat through the middle of the L4/5 disc"
    ds.DerivationCodeSequence = [coded_concept(codes.DCM.MultiplanarReformatting)]
    ds.SourceImageSequence = [_reference(i) for i in inputs.source.grid.instances]
    name_predecessor(ds, inputs, "midplane")
    return ds


def _acquisition(ds: Dataset, source: Dataset) -> None:
    """Repeat how the source was acquired, with what the MR Image IOD wants where the source does not say it."""
    for element in source:
        if element.keyword != "SliceThickness":
            ds[element.tag] = element
    ds.ScanningSequence = source.get("ScanningSequence") or "RM"
    ds.SequenceVariant = source.get("SequenceVariant") or "NONE"
    ds.MRAcquisitionType = source.get("MRAcquisitionType") or "3D"
    for keyword in _EMPTY:
        if keyword not in ds:
            setattr(ds, keyword, None)
    if "IR" in attributes.texts(ds, "ScanningSequence"):
        ds.InversionTime = source.get("InversionTime")
    elif "InversionTime" in ds:  # of type 2C: only an inversion has one
        del ds.InversionTime


def _pixels(ds: Dataset, stored: Array, shift: float, slope: float) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    if shift != 0.0 or slope != 1.0:
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = f"{shift:.8g}", f"{slope:.8g}", "US"
    ds.PixelData = stored.tobytes()


def around_disc(grid: Volume, plane: Plane) -> tuple[slice, slice]:
    """Return the rows and columns of the picture within `BOX_MM` of the plane's point."""
    _, row, column = grid.to_index(np.array(plane.point_lps))
    front, behind, beside = (v / PIXEL_MM for v in BOX_MM)
    spans = ((row - front, row + behind), (column - beside, column + beside))
    rows, columns = (
        slice(max(0, round(low)), min(n, round(high) + 1))
        for (low, high), n in zip(spans, grid.shape[1:], strict=True)
    )
    return rows, columns


def _windows(ds: Dataset, values: Array, near: tuple[slice, slice]) -> None:
    """Write the window of the disc and vessels, which viewers open with, and that of the complete picture."""
    box = values[near]
    ends = [
        np.percentile(part if part.size else values, percent)
        for part, percent in ((box, BOX_PERCENT), (values, PICTURE_PERCENT))
    ]
    ds.WindowCenter = [f"{(low + high) / 2:.6g}" for low, high in ends]
    ds.WindowWidth = [f"{max(high - low, 1):.6g}" for low, high in ends]
    ds.WindowCenterWidthExplanation = list(WINDOWS)


def _reference(source: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
        source.sop_class_uid,
        source.sop_instance_uid,
    )
    item.PurposeOfReferenceCodeSequence = [
        coded_concept(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    return item
