"""A complete small result folder: the objects of the studio's result, and a picture, a PDF and surfaces that stand for theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.result_folder import encode_all
from tests.support.result_folders import list_objects
from tests.support.seg_inputs import inputs_of

PICTURES = {
    "summary.dcm": SecondaryCaptureImageStorage,
    "report.dcm": EncapsulatedPDFStorage,
    "surface.dcm": EncapsulatedSTLStorage,
}


def write_small_result(
    studio: Any, root: Path, *, rows: int = 24, columns: int = 40
) -> tuple[Path, EncodeInput]:
    """Write a result below `root`; returns its folder and what it was encoded from."""
    inputs = inputs_of(studio, rows, columns)
    folder = root / inputs.key.result_id
    folder.mkdir(parents=True)
    for name, content in encode_all(inputs).items():
        (folder / name).write_bytes(content)
    for number, (name, sop_class) in enumerate(PICTURES.items()):
        _picture(inputs, sop_class, number).save_as(folder / name, enforce_file_format=True)
    list_objects(folder)
    return folder, inputs


def _picture(inputs: EncodeInput, sop_class: str, number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"2.25.77{number}"
    ds.StudyInstanceUID = inputs.source.grid.instances[0].study_uid
    ds.SeriesInstanceUID, ds.PatientID = f"2.25.78{number}", "T1"
    if sop_class == SecondaryCaptureImageStorage:
        ds.Rows, ds.Columns, ds.SamplesPerPixel = 6, 5, 3
        ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.PixelData = np.arange(90, dtype=np.uint8).tobytes()
    return ds
