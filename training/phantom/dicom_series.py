"""Write one imaged person as a DICOM study of classic MR Image Storage series (PS3.3 A.4).

Headers imitate a Siemens scanner; every UID and file name follows from the seed, so two runs give the
same bytes. File names are shuffled: their order means nothing. One frame of reference per study.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from dicomseg.volume import Array, Points
from training.phantom.person import Person, stream

IMPLEMENTATION_UID: Final = UID("2.25.152408731629381573240971386125510442917")
_NAMESPACE: Final = uuid.UUID("0c2f1f0e-6c56-4f1a-9a53-6a54e2fb3a10")
_FIELD_T: Final = 3


def derive_uid(*parts: object) -> UID:
    """Derive a UID from its parts (2.25 form of a version 5 UUID, PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(p) for p in parts)).int}")


@dataclass(frozen=True, slots=True)
class Protocol:
    """Header values of a series; times in ms."""

    name: str
    number: int
    description: str
    sequence_name: str
    image_type: tuple[str, ...]
    acquisition: str = "3D"
    scanning: tuple[str, ...] = ("SE",)
    variant: tuple[str, ...] = ("SK", "SP", "OSP")
    tr_ms: float = 2800.0
    te_ms: float = 189.0
    ti_ms: float | None = None
    flip_deg: float = 45.0
    echo_train: int = 100
    thickness_mm: float | None = None


_ORIGINAL: Final = ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D", "DIS2D")
T2_SPACE: Final = Protocol("t2_space", 5, "t2_space_iso", "*spcR3d1_100", _ORIGINAL)
LOCALIZER: Final = Protocol(
    "localizer",
    1,
    "localizer",
    "*fl2d1",
    ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
    "2D",
    ("GR",),
    ("SP", "OSP"),
    8.6,
    4.0,
    None,
    20.0,
    1,
    6.0,
)
T2_TSE: Final = Protocol(
    "t2_tse_sag",
    2,
    "t2_tse_sag",
    "*tse2d1_17",
    ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
    "2D",
    ("SE",),
    ("SK", "SP", "OSP"),
    3500.0,
    101.0,
    None,
    160.0,
    17,
    3.5,
)
T1_SPACE: Final = Protocol(
    "t1_space",
    3,
    "t1_space_iso",
    "*spcR3d1_40",
    _ORIGINAL,
    tr_ms=600.0,
    te_ms=23.0,
    flip_deg=120.0,
    echo_train=40,
)
FLAIR: Final = Protocol(
    "t2_flair",
    4,
    "t2_spc_da-fl_iso",
    "*spcir_284ns",
    _ORIGINAL,
    scanning=("SE", "IR"),
    variant=("SK", "SP", "MP"),
    tr_ms=5000.0,
    te_ms=397.0,
    ti_ms=1800.0,
    flip_deg=120.0,
    echo_train=284,
)
MPR: Final = Protocol(
    "mpr",
    7,
    "t2_space_iso_MPR_cor",
    "*spcR3d1_100",
    ("DERIVED", "SECONDARY", "MPR", "NORM", "DIS3D"),
    thickness_mm=3.0,
)
UNCORRECTED: Final = replace(
    T2_SPACE,
    name="t2_space_nd",
    number=6,
    description="t2_space_iso_ND",
    image_type=("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
)


@dataclass(frozen=True, slots=True)
class Patient:
    """The invented patient of a case."""

    case: str
    person: Person
    seed: int

    @property
    def study_uid(self) -> UID:
        """Study Instance UID."""
        return derive_uid("study", self.case, self.seed)

    @property
    def frame_uid(self) -> UID:
        """Frame of Reference UID, the same for every series."""
        return derive_uid("frame", self.case, self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices to write."""

    protocol: Protocol
    pixels: Array
    """(slice, row, column), integer valued."""
    affine: Points
    """Index (i, j, k) to LPS mm."""
    dropped: frozenset[int] = frozenset()
    """Slice indices that are not written, as if lost in transfer."""
    first_number: int = 1
    expected: int | None = None
    """Count that the header announces; None is the number of slices."""
    key: str = ""
    """Name of the series in its UID; empty is the protocol's."""


def _text(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 6.2)."""
    short = f"{value + 0.0:.10g}"
    return short if len(short) <= 16 else f"{value:.8g}"[:16]


def _patient(ds: Dataset, patient: Patient) -> None:
    birth_year = 2024 - int(patient.person.age)
    ds.PatientName = f"Phantom^{patient.case.replace('-', ' ').title()}"
    ds.PatientID = f"PHANTOM-{patient.seed:06d}"
    ds.PatientBirthDate = f"{birth_year:04d}0615"
    ds.PatientSex = patient.person.sex
    ds.PatientAge = f"{int(patient.person.age):03d}Y"
    ds.PatientSize = _text(round(patient.person.height_cm / 100, 2))
    ds.PatientWeight = _text(round(patient.person.bmi * (patient.person.height_cm / 100) ** 2, 1))
    ds.PatientComments = "Synthetic phantom, no person"


def _study_and_equipment(
    ds: Dataset, patient: Patient, protocol: Protocol, series_uid: UID
) -> None:
    ds.StudyInstanceUID, ds.SeriesInstanceUID = patient.study_uid, series_uid
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = patient.frame_uid, ""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240110"
    ds.StudyTime = "080000"
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = f"08{protocol.number:02d}00"
    ds.AccessionNumber, ds.StudyID = f"SYN{patient.seed:06d}", str(patient.seed)
    ds.ReferringPhysicianName, ds.StudyDescription = "", "Lumbar spine"
    ds.Modality, ds.SeriesNumber = "MR", protocol.number
    ds.SeriesDescription = ds.ProtocolName = protocol.description
    ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "Phantom"
    ds.InstitutionName, ds.StationName = "Synthetic", "PHANTOM"
    ds.SoftwareVersions, ds.DeviceSerialNumber = "syngo MR E11", "00000"
    ds.BodyPartExamined, ds.PatientPosition = "LSPINE", "HFS"


def _sequence(ds: Dataset, protocol: Protocol) -> None:
    ds.ImageType = list(protocol.image_type)
    ds.ScanningSequence, ds.SequenceVariant = list(protocol.scanning), list(protocol.variant)
    ds.ScanOptions = "PFP" if protocol.acquisition == "3D" else ""
    ds.MRAcquisitionType, ds.SequenceName = protocol.acquisition, protocol.sequence_name
    ds.RepetitionTime, ds.EchoTime = _text(protocol.tr_ms), _text(protocol.te_ms)
    if protocol.ti_ms is not None:
        ds.InversionTime = _text(protocol.ti_ms)
    ds.FlipAngle, ds.EchoTrainLength = _text(protocol.flip_deg), protocol.echo_train
    ds.EchoNumbers, ds.NumberOfAverages = 1, "1"
    ds.ImagedNucleus, ds.ImagingFrequency = "1H", "123.2"
    ds.MagneticFieldStrength, ds.TransmitCoilName = str(_FIELD_T), "Body"
    ds.AcquisitionNumber = 1


def _plane(ds: Dataset, stack: Stack, index: int) -> None:
    # PS3.3 C.7.6.2.1.1: the first triplet points along a row, so it pairs with the column index.
    step, down, right = (stack.affine[:3, axis] for axis in range(3))
    along_row, along_column = right / np.linalg.norm(right), down / np.linalg.norm(down)
    position = stack.affine[:3, 3] + index * step
    ds.ImagePositionPatient = [_text(v) for v in position]
    ds.ImageOrientationPatient = [_text(v) for v in (*along_row, *along_column)]
    ds.PixelSpacing = [_text(float(np.linalg.norm(down))), _text(float(np.linalg.norm(right)))]
    spacing = float(np.linalg.norm(step))
    ds.SliceThickness = _text(stack.protocol.thickness_mm or spacing)
    ds.SpacingBetweenSlices = _text(spacing)
    ds.SliceLocation = _text(float(position @ np.cross(along_row, along_column)))


def _image(ds: Dataset, plane: Array, top: float) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.add_new("SmallestImagePixelValue", "US", int(plane.min()))
    ds.add_new("LargestImagePixelValue", "US", int(plane.max()))
    ds.WindowCenter, ds.WindowWidth = _text(round(top / 2)), _text(max(round(top), 1))
    ds.PixelData = np.ascontiguousarray(plane, dtype="<u2").tobytes()


def build_datasets(patient: Patient, stack: Stack) -> Iterator[FileDataset]:
    """Build headers and pixels of one series, ascending along the grid's first axis."""
    series_uid = derive_series_uid(patient, stack)
    top = float(np.percentile(stack.pixels, 99.5))
    count = stack.expected or len(stack.pixels)
    for index, plane in enumerate(stack.pixels):
        if index in stack.dropped:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = derive_uid(
            "instance", series_uid, stack.first_number + index
        )
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = IMPLEMENTATION_UID
        ds = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        ds.InstanceCreationDate, ds.InstanceCreationTime = "20240110", "090000"
        _patient(ds, patient)
        _study_and_equipment(ds, patient, stack.protocol, series_uid)
        _sequence(ds, stack.protocol)
        ds.InstanceNumber, ds.ImagesInAcquisition = stack.first_number + index, count
        _plane(ds, stack, index)
        _image(ds, plane, top)
        yield ds


def derive_series_uid(patient: Patient, stack: Stack) -> UID:
    """Derive the Series Instance UID of a stack."""
    return derive_uid("series", patient.study_uid, stack.key or stack.protocol.name)


def write_series(
    patient: Patient,
    stacks: Sequence[Stack],
    folder: Path,
    report: Callable[[str], None] = lambda _: None,
) -> UID:
    """Write the stacks of one series (a localizer has three) with shuffled file names."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [
        ds
        for stack in stacks
        for ds in build_datasets(patient, replace(stack, key=stacks[0].protocol.name))
    ]
    names = stream(patient.seed, f"names {stacks[0].protocol.name}").permutation(len(images))
    for ds, name in zip(images, names, strict=True):
        ds.save_as(folder / f"I{int(name):05d}.dcm", enforce_file_format=True)
    report(f"{folder.name}: {len(images)} images")
    return UID(images[0].SeriesInstanceUID)


def to_stored_values(image: Array) -> Array:
    """Return grey values as the unsigned 16-bit integers that are written."""
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def study_uids(patient: Patient) -> dict[str, Any]:
    """Return the UIDs of a study for `truth.json`."""
    return {"study_uid": str(patient.study_uid), "frame_of_reference_uid": str(patient.frame_uid)}
