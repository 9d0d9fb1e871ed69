"""`summary.dcm`: the page to plan with, as an RGB Secondary Capture Image."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicomseg.encode.context import EncodeInput, name_predecessor, new_object
from dicomseg.volume import Array

SERIES_NUMBER: Final = 9005


def encode(inputs: EncodeInput, rgb: Array) -> Dataset:
    """Encode the page. rgb: uint8 (rows, columns, 3)."""
    ds = new_object(
        inputs,
        SecondaryCaptureImageStorage,
        "summary",
        "OT",
        SERIES_NUMBER,
        "planning page",
    )
    show_page(ds, rgb)
    ds.DerivationDescription = "page drawn from segmentation and measurements of the L4/5 level"
    name_predecessor(ds, inputs, "summary")
    return ds


def show_page(ds: Dataset, rgb: Array) -> None:
    """Make an object the picture of a drawn page, with what is written in it. rgb: uint8 (rows, columns, 3)."""
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = None
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = rgb.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
