"""Headers of synthetic source images: with every attribute that a result takes over, or with none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from dicomseg.encode.sanitise import ACQUISITION, EQUIPMENT, IDENTITY
from dicomseg.volume import Volume

_CHOSEN: Final = {
    "PatientSex": ("M", "F"),
    "TypeOfPatientID": ("TEXT", "RFID"),
    "SmokingStatus": ("YES", "NO"),
    "QualityControlSubject": ("NO", "YES"),
    "PatientIdentityRemoved": ("NO", "YES"),
    "ScanningSequence": ("SE", "IR"),
    "SequenceVariant": ("SK", "SP"),
    "ScanOptions": ("PFP", "FS"),
    "MRAcquisitionType": ("3D", "2D"),
    "PatientPosition": ("HFS", "FFS"),
    "LossyImageCompression": ("00", "01"),
    "TimezoneOffsetFromUTC": ("+0100", "+0200"),
    "UniversalEntityIDType": ("ISO", "UUID"),
    "SliceThickness": ("1.6", "1.8"),
}
_SAMPLES: Final[Mapping[str, Callable[[int], Any]]] = {
    "PN": lambda n: f"Family{n}^Given",
    "DA": lambda n: f"2020010{n + 1}",
    "TM": lambda n: f"1{n}0000",
    "AS": lambda n: f"04{n}Y",
    "DS": lambda n: f"1.{n + 1}",
    "IS": lambda n: f"{n + 1}",
    "UI": lambda n: f"1.2.{n + 3}",
    "US": lambda n: n + 1,
    "FD": lambda n: n + 1.5,
}
_ITEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "IssuerOfPatientIDQualifiersSequence": ("UniversalEntityID", "UniversalEntityIDType"),
    "OtherPatientIDsSequence": ("PatientID", "IssuerOfPatientID", "TypeOfPatientID"),
    "ReferencedStudySequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
    "RequestAttributesSequence": (
        "RequestedProcedureID", "ScheduledProcedureStepID", "AccessionNumber", "RequestedProcedureDescription",
        "RequestedProcedureCodeSequence", "ReasonForTheRequestedProcedure",
    ),
}  # fmt: skip
_CODE: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_ENTITY: Final = ("LocalNamespaceEntityID",)


def _value(keyword: str, n: int) -> Any:
    """Return a legal value of an attribute; n: 0 or 1, two different ones."""
    if keyword in _CHOSEN:
        return _CHOSEN[keyword][n]
    vr = dictionary_VR(keyword)
    if vr == "SQ":
        fallback = _CODE if keyword.endswith("CodeSequence") else _ENTITY
        item = Dataset()
        for inner in _ITEMS.get(keyword, fallback):
            setattr(item, inner, _value(inner, n))
        return [item]
    value = _SAMPLES.get(vr, lambda k: f"TEXT {k}")(n)
    return [value] if dictionary_VM(keyword) == "1-n" else value


def source_slice(grid: Volume, number: int, headers: int | None) -> Dataset:
    """Return one slice of an axial series, as a reader of its file has it.

    headers: which values the attributes have that a result takes over, 0 or 1; None: it has none of them.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if headers is not None:
        for keyword in (*IDENTITY, *EQUIPMENT, *ACQUISITION, "RequestAttributesSequence"):
            setattr(ds, keyword, _value(keyword, headers))
    uid = f"1.2.3.{headers or 0}"
    sop_class = LegacyConvertedEnhancedMRImageStorage if headers else MRImageStorage
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid}.4.{number + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        f"{uid}.1",
        f"{uid}.2",
        f"{uid}.3",
    )
    ds.Modality, ds.ImageType, ds.InstanceNumber = "MR", ["ORIGINAL", "PRIMARY"], number + 1
    if headers is not None:
        ds.SeriesNumber, ds.SpecificCharacterSet = (
            4 + headers,
            ("ISO_IR 100", "ISO_IR 192")[headers],
        )
    step_mm, row_mm, column_mm = grid.spacing_mm
    ds.ImagePositionPatient = [f"{v:.6g}" for v in grid.affine[:3, 3] + number * grid.affine[:3, 0]]
    columns = (grid.affine[:3, n] / grid.spacing_mm[n] for n in (2, 1))
    ds.ImageOrientationPatient = [f"{v:.9f}" for column in columns for v in column]
    ds.PixelSpacing = [f"{row_mm:.6g}", f"{column_mm:.6g}"]
    ds.SliceThickness = f"{step_mm:.6g}"
    ds.Rows, ds.Columns = grid.shape[1:]
    return _as_read(ds)


def _as_read(ds: Dataset) -> Dataset:
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return dcmread(BytesIO(out.getvalue()))
