"""Take from the headers of a source what its results carry, cleaned in one place.

Source headers are hostile: character sets that do not exist, dates that never were, names and numbers longer than
their value representation. `sanitised_headers` reads the few attributes that any result carries, once, by the tables below;
nothing else of a source header reaches a result. A value that breaks its rule is put right where only one thing can
be meant, else left out; an empty attribute stays where the standard wants one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.encode.uids import make_uid
from dicomseg.read.charset import UTF_8
from dicomseg.read.copied_attributes import AttributeReader, read_charset, stored_value
from dicomseg.read.pixels import Source
from dicomseg.segmentation import Finding

PATIENT_EMPTY: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY_EMPTY: Final = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
)  # fmt: skip
"""Attributes of type 2: present in every result, empty where the source has no value."""

TRIAL_EMPTY: Final = (
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialTimePointID",
)  # fmt: skip
TRIAL: Final = (
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointDescription", *TRIAL_EMPTY,
)  # fmt: skip
IDENTITY: Final = (
    *PATIENT_EMPTY, *STUDY_EMPTY,
    # Patient (PS3.3 C.7.1.1)
    "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthTime",
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "EthnicGroupCodeSequence",
    "PatientComments", "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # General Study (C.7.2.1)
    "IssuerOfAccessionNumberSequence", "StudyDescription", "ProcedureCodeSequence", "RequestingService",
    "ReasonForPerformedProcedureCodeSequence", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy",
    "ConsultingPhysicianName", "ReferencedStudySequence",
    # Patient Study (C.7.2.2)
    "PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies", "Occupation",
    "SmokingStatus", "PregnancyStatus", "AdditionalPatientHistory", "PatientState", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "IssuerOfServiceEpisodeIDSequence",
    "ServiceEpisodeDescription", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    # SOP Common (C.12.1)
    "TimezoneOffsetFromUTC",
    # Clinical Trial Subject and Study (C.7.1.3, C.7.2.3)
    *TRIAL,
)  # fmt: skip
"""Patient and study: the same in every object of a result."""

EQUIPMENT: Final = (
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
)  # fmt: skip
"""The scanner, for Contributing Equipment."""

ACQUISITION: Final = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "RepetitionTime",
    "EchoTime", "InversionTime", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus", "EchoNumbers",
    "MagneticFieldStrength", "EchoTrainLength", "FlipAngle", "PatientPosition", "PositionReferenceIndicator",
    "SliceThickness", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""Of the images: what the mid-disc image and the segmentation repeat."""


@dataclass(frozen=True, slots=True, eq=False)
class Headers:
    """The cleaned headers of one source; every encoder takes what it copies from here."""

    character_set: tuple[str, ...]
    """Values of Specific Character Set of every object."""
    identity: Dataset
    """Patient and study attributes, the same in every object."""
    requests: tuple[Dataset, ...]
    """Items of Request Attributes Sequence."""
    equipment: Dataset
    """The scanner."""
    acquisition: Dataset
    """What is repeated of the images."""
    frame_of_reference_uid: str
    patient_id: str
    """Text, for tracking UIDs, as is `issuer`."""
    issuer: str
    zone: timezone | None
    """Time zone of the dates, None where not stated."""
    findings: tuple[Finding, ...] = ()
    """What was corrected or omitted, by keyword and never by value."""


def sanitised_headers(source: Source, own_text: Sequence[str] = ()) -> Headers:
    """Take from a source what its results carry. Raises nothing, whatever the headers hold.

    own_text: texts of the configuration that the objects carry too; one that is not ASCII makes them Unicode.
    """
    headers = headers_from(max(source.datasets, key=_known), own_text)
    frame = source.grid.frame_of_reference_uid
    if frame:
        return replace(headers, frame_of_reference_uid=frame)
    derived = make_uid("frame of reference", source.grid.instances[0].series_uid)
    return replace(
        headers, frame_of_reference_uid=derived, findings=(*headers.findings, _FRAME_MADE)
    )


def _known(ds: Dataset) -> int:
    """How much of the patient an object names: the first may lack what the others have."""
    values = (stored_value(ds, keyword) or b"" for keyword in PATIENT_EMPTY)
    texts = (v.decode("latin_1") if isinstance(v, bytes) else v for v in values)
    return sum(bool(text.strip("^= \0")) for text in texts)


def headers_from(first: Dataset, own_text: Sequence[str] = ()) -> Headers:
    """Take from one object what others of the same study carry; without a frame of reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = AttributeReader(
            read_charset(first, (*IDENTITY, *EQUIPMENT)), keep=all(t.isascii() for t in own_text)
        )
        headers = _headers(reader, first)
        if reader.keep and reader.lost:
            reader = AttributeReader(reader.charset, keep=False)
            headers = _headers(reader, first)
    return replace(headers, findings=_cleaned(reader))


_FRAME_MADE: Final = Finding(
    "frame_of_reference_made",
    "the source has no Frame of Reference UID; the results carry one derived from its Series Instance UID",
    "warning",
)


def _headers(reader: AttributeReader, first: Dataset) -> Headers:
    identity = reader.copy(first, IDENTITY)
    for keyword in (*PATIENT_EMPTY, *STUDY_EMPTY):
        if keyword not in identity:
            setattr(identity, keyword, None)
    _complete(identity)
    requests = reader.copy(first, ("RequestAttributesSequence",))
    return Headers(
        character_set=reader.charset.terms if reader.keep else (UTF_8,),
        identity=identity,
        requests=tuple(requests.get("RequestAttributesSequence", ())),
        equipment=reader.copy(first, EQUIPMENT, depth=1),
        acquisition=reader.copy(first, ACQUISITION),
        frame_of_reference_uid="",
        patient_id=reader.text(first, "PatientID"),
        issuer=reader.text(first, "IssuerOfPatientID"),
        zone=_zone(str(identity.get("TimezoneOffsetFromUTC", ""))),
    )


def _complete(identity: Dataset) -> None:
    """Complete what depends on another attribute, or take it out with it."""
    if identity.get("PatientIdentityRemoved") == "YES":
        named = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
        if not any(k in identity for k in named):
            identity.DeidentificationMethod = "not stated by the source"
    subject = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
    trial = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
    if all(k in identity for k in trial) and any(k in identity for k in subject):
        for keyword in TRIAL_EMPTY:
            if keyword not in identity:
                setattr(identity, keyword, None)
        return
    for keyword in TRIAL:
        if keyword in identity:
            del identity[keyword]


def _zone(offset: str) -> timezone | None:
    if not offset:
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset.startswith("-") else minutes))


def _cleaned(reader: AttributeReader) -> tuple[Finding, ...]:
    wrong = sorted(reader.wrong | (set() if reader.charset.known else {"SpecificCharacterSet"}))
    if not wrong:
        return ()
    text = f"invalid values in the source header were corrected or omitted: {', '.join(wrong)}"
    return (Finding("header_cleaned", text, "warning"),)
