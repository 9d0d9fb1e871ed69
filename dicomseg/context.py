"""What every object takes from its source and from this run: patient, study, equipment, dates.

Source headers are hostile: absent type 2 attributes become empty, values that would break a reader
are blanked, nothing else is copied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomseg.identity import Identity, ResultKey, device_uid, uid_of
from dicomseg.pixels import Source
from dicomseg.result import Result
from dicomseg.segmentation import Segmentation
from dicomseg.structures import PRIVATE_SCHEME, Code

IMPLEMENTATION_CLASS_UID: Final = UID(uid_of("implementation"))
IMPLEMENTATION_VERSION: Final = "LUMBAR_NODE"
RESEARCH_ONLY: Final = "research use only"
BODY_PART: Final = "LSPINE"

PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY: Final = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
OPTIONAL: Final = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDescription", "PositionReferenceIndicator",
)  # fmt: skip
_RULES: Final = {
    "PatientBirthDate": re.compile(r"\d{8}"),
    "PatientSex": re.compile(r"[MFO]"),
    "PatientAge": re.compile(r"\d{3}[DWMY]"),
    "StudyDate": re.compile(r"\d{8}"),
    "StudyTime": re.compile(r"\d{2,6}(\.\d{1,6})?"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything an encoder needs; the same run gives the same bytes."""

    result: Result
    source: Source
    segmentation: Segmentation
    key: ResultKey
    identity: Identity
    created: datetime
    predecessor: ResultKey | None = None


def concept(code: Code | DicomCode) -> hd.sr.CodedConcept:
    """One of our codes, or one of pydicom's, as highdicom wants it."""
    if isinstance(code, Code):
        return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
    return hd.sr.CodedConcept.from_code(code)


def private(value: str, meaning: str) -> hd.sr.CodedConcept:
    """Code of our own scheme."""
    return hd.sr.CodedConcept(value, PRIVATE_SCHEME, meaning)


def clean(source: Sequence[Dataset]) -> list[Dataset]:
    """Copies of the source headers in which type 2 attributes exist and no value breaks an encoder."""
    return [_clean(ds) for ds in source]


def _clean(ds: Dataset) -> Dataset:
    out = Dataset()
    out.update({e.tag: e for e in ds if not e.tag.is_private})
    out.file_meta = getattr(ds, "file_meta", FileMetaDataset())
    for keyword in (*PATIENT, *STUDY, *OPTIONAL):
        rule, value = _RULES.get(keyword), _text(ds, keyword)
        if keyword in OPTIONAL and keyword not in ds:
            continue
        if keyword not in ds or (rule is not None and not rule.fullmatch(value)):
            setattr(out, keyword, "" if keyword not in OPTIONAL else None)
            if keyword in OPTIONAL:
                delattr(out, keyword)
    if "SliceThickness" not in out:
        out.SliceThickness = None
    return out


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword, "") or "").strip()


def base(
    run: Run, sop_class: str, role: str, modality: str, number: int, description: str
) -> Dataset:
    """Start an object of our own: patient, study, new series, equipment, SOP common, file meta."""
    first = _clean(run.source.datasets[0])
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(run.key.uid(f"{role}.instance"))
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    if first.get("SpecificCharacterSet"):
        ds.SpecificCharacterSet = first.SpecificCharacterSet
    for keyword in (*PATIENT, *STUDY, *OPTIONAL):
        if keyword in first:
            ds[keyword] = first[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, run.key.uid(f"{role}.instance")
    ds.StudyInstanceUID = first.StudyInstanceUID
    ds.SeriesInstanceUID, ds.SeriesNumber = run.key.uid(f"{role}.series"), number
    ds.Modality, ds.SeriesDescription, ds.BodyPartExamined = modality, description, BODY_PART
    ds.InstanceNumber = 1
    stamp(ds, run)
    identity = run.identity
    ds.Manufacturer, ds.ManufacturerModelName = identity.manufacturer, identity.model_name
    ds.DeviceSerialNumber, ds.SoftwareVersions = (
        identity.device_serial_number,
        identity.software_version,
    )
    if identity.station_name:
        ds.StationName = identity.station_name
    ds.ContributingEquipmentSequence = [equipment(run)]
    return ds


def stamp(ds: Dataset, run: Run) -> None:
    """Write the run's date and time wherever an object says when it was made."""
    date, time = run.created.strftime("%Y%m%d"), run.created.strftime("%H%M%S.%f")
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = date
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = time


def equipment(run: Run) -> hd.ContributingEquipment:
    """Contributing Equipment item of this algorithm (IHE AI Results)."""
    item = hd.ContributingEquipment(
        manufacturer=run.identity.manufacturer,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=run.identity.model_name,
        device_serial_number=run.identity.device_serial_number,
        software_versions=(
            run.identity.software_version,
            f"model {run.segmentation.engine.digest[:12]}",
        ),
        contribution_datetime=run.created.replace(tzinfo=None),
        contribution_description=f"L4/5 segmentation and measurement, {RESEARCH_ONLY}",
    )
    item.DeviceUID = device_uid(run.identity.device_serial_number, run.segmentation.engine)
    return item


def private_scheme() -> Dataset:
    """Coding Scheme Identification item of our private scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = uid_of("coding scheme")
    item.CodingSchemeName = "lumbar-node private codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = "lumbar-node"
    return item


def freeze(ds: Dataset, run: Run, role: str) -> None:
    """Overwrite what highdicom draws afresh at every call, so that equal runs give equal bytes."""
    stamp(ds, run)
    ds.BodyPartExamined = BODY_PART
    if run.identity.station_name:
        ds.StationName = run.identity.station_name
    for item in ds.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = run.created.replace(tzinfo=None)
    organization = run.key.uid(f"{role}.dimensions")
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in ds.get(sequence, []):
            item.DimensionOrganizationUID = organization
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    existing = list(ds.get("CodingSchemeIdentificationSequence", []))
    if all(i.get("CodingSchemeDesignator") != PRIVATE_SCHEME for i in existing):
        ds.CodingSchemeIdentificationSequence = [*existing, private_scheme()]


def algorithm(run: Run) -> dict[str, Any]:
    """Return name, version and parameters of the algorithm, for algorithm identification."""
    engine = run.segmentation.engine
    return {
        "name": f"{run.identity.model_name} {engine.name}"[:64],
        "version": f"{run.identity.software_version}, model {engine.version} {engine.digest[:16]}"[
            :64
        ],
        "parameters": {
            "engine": engine.engine,
            "precision": engine.precision,
            "level": run.result.level.rule,
        },
    }
