"""What all objects have in common: patient, study, equipment, dates, and their bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import highdicom as hd
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomseg.encode.sanitise import IDENTITY, PATIENT_EMPTY, STUDY_EMPTY, Headers
from dicomseg.encode.series_names import series_description, series_number
from dicomseg.encode.uids import Identity, ResultKey, device_uid, make_uid
from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicomseg.read.charset import ascii_text
from dicomseg.read.pixels import Source
from dicomseg.result import Result
from dicomseg.segmentation import Segmentation
from dicomseg.structures import PRIVATE_SCHEME, Code

RESEARCH_ONLY: Final = "research use only"
BODY_PART: Final = "LSPINE"
REQUESTS: Final = "RequestAttributesSequence"
REPORTED_REQUESTS: Final = "ReferencedRequestSequence"
"""The requests in an image's series and in a report."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodeInput:
    """Everything an encoder needs; the same input gives the same bytes."""

    result: Result
    source: Source
    segmentation: Segmentation
    key: ResultKey
    headers: Headers
    identity: Identity
    created: datetime
    predecessor: ResultKey | None = None

    @property
    def local_time(self) -> datetime:
        """When the result was made, in the time zone that its source states."""
        zone = self.headers.zone
        return self.created if zone is None else self.created.astimezone(zone)


def coded_concept(code: Code | DicomCode) -> hd.sr.CodedConcept:
    """Convert one of our codes, or one of pydicom's, to highdicom's."""
    if isinstance(code, Code):
        return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
    return hd.sr.CodedConcept.from_code(code)


def private_code(value: str, meaning: str) -> hd.sr.CodedConcept:
    """Return a code of our own scheme."""
    return hd.sr.CodedConcept(value, PRIVATE_SCHEME, meaning)


def own_text(identity: Identity) -> tuple[str, ...]:
    """Return the texts of the configuration that every object carries."""
    return tuple(str(value) for value in asdict(identity).values())


def identify(ds: Dataset, headers: Headers) -> None:
    """Write patient, study, requests and character set into an object: the same in every object of a result."""
    for keyword in (*IDENTITY, REQUESTS, REPORTED_REQUESTS):
        if keyword in ds:
            del ds[keyword]
    ds.SpecificCharacterSet = list(headers.character_set)
    ds.update(headers.identity)
    # What is kept in the bytes of the source is written so, not decoded and encoded by pydicom, which loses some.
    encodings = convert_encodings(list(headers.character_set))
    ds.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=encodings
    )
    if not headers.requests:
        return
    if ds.Modality in {"SR", "KO"}:
        ds.ReferencedRequestSequence = [
            _reported(item, ds.StudyInstanceUID) for item in headers.requests
        ]
    else:
        ds.RequestAttributesSequence = list(headers.requests)


def _reported(item: Dataset, study_uid: str) -> Dataset:
    """Convert a request for a report (PS3.3 C.17.2): the same values, empty where unknown."""
    out = Dataset()
    out.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
    )
    out.StudyInstanceUID = study_uid
    for keyword in _REPORTED:
        tag = Tag(keyword)
        # As it is: reading an element would decode bytes of the source, here and in every later object.
        out[tag] = item.get_item(tag) if tag in item else DataElement(tag, dictionary_VR(tag), None)
    for keyword in ("ReasonForTheRequestedProcedure", "IssuerOfAccessionNumberSequence"):
        if keyword in item:
            out[Tag(keyword)] = item.get_item(Tag(keyword))
    return out


_REPORTED: Final = (
    "ReferencedStudySequence", "AccessionNumber", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest", "RequestedProcedureID", "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)  # fmt: skip
"""Attributes of type 2 of a reported request."""


def carrier(study_uid: str, series_uid: str, sop_class: str, sop_instance: str) -> Dataset:
    """Return the least that highdicom wants of an object it refers to; `identify` writes the patient afterwards."""
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_instance
    ds.Modality = "MR"
    for keyword in (*PATIENT_EMPTY, *STUDY_EMPTY):
        setattr(ds, keyword, "")
    return ds


def to_bytes(ds: Dataset) -> bytes:
    """Return the object as a DICOM file."""
    out = BytesIO()
    written = [
        e for e in ds.elements() if e.is_raw and e.VR == "SQ"
    ]  # `seg.encode`: not to be parsed
    for element in written:
        del ds[element.tag]
    correct_ambiguous_vr(
        ds, is_little_endian=True
    )  # left out by pydicom where bytes are written as they are
    for element in written:
        ds[element.tag] = element
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def new_object(
    inputs: EncodeInput, sop_class: str, role: str, modality: str, number: int, what: str
) -> Dataset:
    """Start an object of our own: patient, study, new series, equipment, SOP common, file meta.

    number, what: of the series, as `name_series` takes them.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(inputs.key.uid(f"{role}.instance"))
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, inputs.key.uid(f"{role}.instance")
    ds.StudyInstanceUID = inputs.source.grid.instances[0].study_uid
    ds.SeriesInstanceUID = inputs.key.uid(f"{role}.series")
    ds.Modality, ds.BodyPartExamined = modality, BODY_PART
    name_series(ds, inputs, number, what)
    ds.InstanceNumber = 1
    ds.ContentQualification = "RESEARCH"
    set_dates(ds, inputs)
    identity = inputs.identity
    ds.Manufacturer, ds.ManufacturerModelName = identity.manufacturer, identity.model_name
    ds.DeviceSerialNumber, ds.SoftwareVersions = (
        identity.device_serial_number,
        identity.software_version,
    )
    if identity.station_name:
        ds.StationName = identity.station_name
    ds.ContributingEquipmentSequence = [*scanner(inputs), equipment(inputs)]
    identify(ds, inputs.headers)
    return ds


def name_series(ds: Dataset, inputs: EncodeInput, number: int, what: str) -> None:
    """Write Series Number and Description, by which results are distinguished in a list.

    number: 9001 to 9099, one per kind of object. what: the object in a word or two, e.g. ``measurements``.
    """
    source = inputs.source.grid.instances[0].series_number
    ds.SeriesNumber = series_number(number, source)
    engine = inputs.segmentation.engine
    ds.SeriesDescription = series_description(what, engine, inputs.local_time, source)


def name_predecessor(ds: Dataset, inputs: EncodeInput, role: str) -> None:
    """Name in an image the image of the same role that it replaces (General Reference, PS3.3 C.12.4).

    No code of CID 7201 means a replacement, so its purpose is one of our own. Reports have Predecessor Documents.
    """
    if inputs.predecessor is None:
        return
    item = Dataset()
    item.ReferencedSOPClassUID = ds.SOPClassUID
    item.ReferencedSOPInstanceUID = inputs.predecessor.uid(f"{role}.instance")
    item.PurposeOfReferenceCodeSequence = [private_code("PREDECESSOR", "Replaced by this object")]
    ds.ReferencedImageSequence = [item]
    declare_private_scheme(ds)


def set_dates(ds: Dataset, inputs: EncodeInput) -> None:
    """Write the date and time wherever an object says when it was made."""
    local = inputs.local_time
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = date
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = time


def equipment(inputs: EncodeInput) -> hd.ContributingEquipment:
    """Build the Contributing Equipment item of this algorithm (IHE AI Results)."""
    item = hd.ContributingEquipment(
        manufacturer=inputs.identity.manufacturer,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=inputs.identity.model_name,
        device_serial_number=inputs.identity.device_serial_number,
        software_versions=(
            inputs.identity.software_version,
            f"model {inputs.segmentation.engine.digest[:12]}",
        ),
        contribution_datetime=inputs.local_time.replace(tzinfo=None),
        contribution_description=f"L4/5 segmentation and measurement, {RESEARCH_ONLY}",
    )
    item.DeviceUID = device_uid(inputs.identity.device_serial_number, inputs.segmentation.engine)
    return item


def scanner(inputs: EncodeInput) -> list[Dataset]:
    """Build the Contributing Equipment item of the scanner; none where the source does not name its maker."""
    if "Manufacturer" not in inputs.headers.equipment:
        return []
    item = Dataset()
    item.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
    )
    item.update(inputs.headers.equipment)
    item.PurposeOfReferenceCodeSequence = [coded_concept(codes.DCM.AcquisitionEquipment)]
    item.ContributionDescription = "Acquisition equipment of the source images"
    return [item]


def declare_private_scheme(ds: Dataset) -> None:
    """Add our private scheme to the coding schemes that an object declares."""
    existing = list(ds.get("CodingSchemeIdentificationSequence", []))
    if all(i.get("CodingSchemeDesignator") != PRIVATE_SCHEME for i in existing):
        ds.CodingSchemeIdentificationSequence = [*existing, _private_scheme()]


def _private_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = make_uid("coding scheme")
    item.CodingSchemeName = "lumbar-node private codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = "lumbar-node"
    return item


def make_reproducible(ds: Dataset, inputs: EncodeInput, role: str) -> None:
    """Overwrite what highdicom draws afresh at every call, so that equal runs give equal bytes."""
    set_dates(ds, inputs)
    identify(ds, inputs.headers)
    if ds.Modality != "SR":  # the series of a report has none (PS3.3 C.17.1)
        ds.BodyPartExamined = BODY_PART
    if inputs.identity.station_name:
        ds.StationName = inputs.identity.station_name
    ds.ContributingEquipmentSequence = [*scanner(inputs), *ds.ContributingEquipmentSequence]
    for item in ds.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            item.ContributionDateTime = inputs.local_time.replace(tzinfo=None)
    organization = inputs.key.uid(f"{role}.dimensions")
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in ds.get(sequence, []):
            item.DimensionOrganizationUID = organization
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    declare_private_scheme(ds)


def algorithm(inputs: EncodeInput) -> dict[str, Any]:
    """Return name, version and parameters of the algorithm, for algorithm identification."""
    engine, software = inputs.segmentation.engine, inputs.identity.software_version
    return {
        "name": ascii_text(f"{inputs.identity.model_name} {engine.name}")[:64],
        "version": ascii_text(f"{software}, model {engine.version} {engine.digest[:16]}")[:64],
        "parameters": {
            "engine": engine.engine,
            "precision": engine.precision,
            "level": inputs.result.level.rule,
        },
    }
