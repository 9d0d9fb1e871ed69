"""A synthetic MR series for `bench receive`, made again and again with other UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SIDE: Final = 320
INSTANCE_BYTES: Final = 2 * SIDE * SIDE
"""Bytes of the pixels; the header adds a hundredth."""
_ROOT: Final = "1.2.826.0.1.3680043.8.498"
_MARK: Final = "90909090"
"""Place of the number of the series in every UID, in as many digits as it has."""


def make_templates(instances: int) -> list[bytes]:
    """Return the files of one series; `write_series` puts the number of a series into their UIDs."""
    pixels = bytes(range(256)) * (INSTANCE_BYTES // 256)
    return [_encoded(number, instances, pixels) for number in range(1, instances + 1)]


def write_series(templates: Sequence[bytes], series: int, folder: Path) -> Path:
    """Write one series to a folder of its own below `folder`; returns that."""
    place = folder / str(series)
    place.mkdir(parents=True)
    digits = f"{series:0{len(_MARK)}}".replace("0", "1", 1).encode()
    for number, template in enumerate(templates, 1):
        head = template[:-INSTANCE_BYTES].replace(_MARK.encode(), digits)
        (place / f"{number:04}.dcm").write_bytes(head + template[-INSTANCE_BYTES:])
    return place


def _encoded(number: int, instances: int, pixels: bytes) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"{_ROOT}.{_MARK}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{_ROOT}.{_MARK}.1.1", f"{_ROOT}.{_MARK}.2.1"
    ds.FrameOfReferenceUID = f"{_ROOT}.{_MARK}.3.1"
    for keyword, value in _HEADER.items():
        setattr(ds, keyword, value)
    ds.InstanceNumber, ds.ImagesInAcquisition = number, instances
    ds.ImagePositionPatient = [-160.0, -160.0, float(number)]
    ds.SliceLocation = float(number)
    ds.PixelData = pixels
    out = BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


_HEADER: Final = {
    "SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "StudyDate": "20260101", "SeriesDate": "20260101", "AcquisitionDate": "20260101", "ContentDate": "20260101",
    "StudyTime": "101010.000", "SeriesTime": "101111.000", "AcquisitionTime": "101112.000",
    "ContentTime": "101113.000", "AccessionNumber": "BENCH", "Modality": "MR", "Manufacturer": "BENCH",
    "InstitutionName": "BENCH", "ReferringPhysicianName": "", "StationName": "BENCH",
    "StudyDescription": "bench", "SeriesDescription": "bench t1_tse_sag", "ManufacturerModelName": "BENCH",
    "PatientName": "Bench^Receive", "PatientID": "BENCH", "PatientBirthDate": "19700101", "PatientSex": "O",
    "PatientPosition": "HFS", "BodyPartExamined": "LSPINE", "ScanningSequence": "SE", "SequenceVariant": "SK",
    "ScanOptions": "", "MRAcquisitionType": "2D", "SequenceName": "tse2d1", "SliceThickness": "1.0",
    "RepetitionTime": "500", "EchoTime": "10", "NumberOfAverages": "1", "ImagingFrequency": "123.2",
    "ImagedNucleus": "1H", "EchoNumbers": "1", "MagneticFieldStrength": "3", "SpacingBetweenSlices": "1.0",
    "EchoTrainLength": "3", "PixelBandwidth": "200", "SoftwareVersions": "1", "ProtocolName": "bench",
    "FlipAngle": "150", "SAR": "0.5", "StudyID": "1", "SeriesNumber": "1", "AcquisitionNumber": "1",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    "Rows": SIDE, "Columns": SIDE, "PixelSpacing": [1, 1], "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
    "PixelRepresentation": 0, "WindowCenter": "500", "WindowWidth": "1000", "RescaleIntercept": "0",
    "RescaleSlope": "1", "RescaleType": "US",
}  # fmt: skip
"""A T1 sagittal, which no default rule accepts: what comes after the selection is not measured."""
