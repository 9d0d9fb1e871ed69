"""What results take from the headers of their source, cleaned in one place.

Source headers are hostile: character sets that do not exist, dates that never were, names and numbers longer than
their value representation. `clean` reads the few attributes that any result carries, once, by the tables below;
nothing else of a source header reaches a result. A value that breaks its rule is put right where only one thing can
be meant, else left out; an empty attribute stays where the standard wants one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta, timezone
from types import MappingProxyType
from typing import Final

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PersonName

from dicomseg import elements, values
from dicomseg.charset import UTF_8, CharacterSet, character_set
from dicomseg.identity import uid_of
from dicomseg.pixels import Source
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

ENUMERATED: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "PatientSex": re.compile(r"[MFO]"),
        "TypeOfPatientID": re.compile(r"TEXT|RFID|BARCODE"),
        "QualityControlSubject": re.compile(r"YES|NO"),
        "PatientIdentityRemoved": re.compile(r"YES|NO"),
        "SmokingStatus": re.compile(r"YES|NO|UNKNOWN"),
        "ScanningSequence": re.compile(r"SE|IR|GR|EP|RM"),
        "SequenceVariant": re.compile(r"SK|MTC|SS|TRSS|SP|MP|OSP|NONE"),
        "MRAcquisitionType": re.compile(r"2D|3D"),
        "PatientPosition": re.compile(r"[HF]F(S|P|DR|DL)|LF[SPDR]|RF[SPDR]|AF[SPDR]L?|PF[SPDR]L?"),
        "LossyImageCompression": re.compile(r"00|01"),
        "UniversalEntityIDType": re.compile(r"DNS|EUI64|ISO|URI|UUID|X400|X500"),
        "TimezoneOffsetFromUTC": re.compile(r"(?!-0000)(\+(0\d|1[0-4])|-(0\d|1[0-2]))[0-5]\d"),
        "PregnancyStatus": re.compile(r"[1-4]"),
    }
)
"""Values that the standard allows, where it names them all."""

_IDENTIFIER: Final = re.compile(r".*(ID|IDs|Number|Numbers|UID)|Issuer.*")
"""Cut short, it would be another one's: such a value is left out instead."""

_NUMBERS: Final = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})
_PARAGRAPHS: Final = frozenset({"ST", "LT", "UT"})
"""Texts in which a backslash is a letter."""

_DEEPEST: Final = 3
"""Levels of sequences that are followed; what is copied here has two."""

_MOST: Final = 64
"""Items kept of a sequence, values of an attribute: ten times what any real header has."""


@dataclass(frozen=True, slots=True, eq=False)
class Headers:
    """The cleaned headers of one source; every encoder takes what it copies from here.

    character_set: values of Specific Character Set of every object. identity: patient and study attributes, the same
    in every object. requests: items of Request Attributes Sequence. equipment, acquisition: the scanner, and what is
    repeated of the images. patient_id, issuer: text, for tracking UIDs. zone: of the dates, None where not said.
    findings: what was put right or left out, by keyword and never by value.
    """

    character_set: tuple[str, ...]
    identity: Dataset
    requests: tuple[Dataset, ...]
    equipment: Dataset
    acquisition: Dataset
    frame_of_reference_uid: str
    patient_id: str
    issuer: str
    zone: timezone | None
    findings: tuple[Finding, ...] = ()


def clean(source: Source, own_text: Sequence[str] = ()) -> Headers:
    """Take from a source what its results carry. Raises nothing, whatever the headers hold.

    own_text: texts of the configuration that the objects carry too; one that is not ASCII makes them Unicode.
    """
    headers = headers_of(source.datasets[0], own_text)
    frame = source.grid.frame_of_reference_uid
    if frame:
        return replace(headers, frame_of_reference_uid=frame)
    made = uid_of("frame of reference", source.grid.instances[0].series_uid)
    return replace(headers, frame_of_reference_uid=made, findings=(*headers.findings, _FRAME_MADE))


def headers_of(first: Dataset, own_text: Sequence[str] = ()) -> Headers:
    """Take from one object what others of the same study carry; without a frame of reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = _Reader(_charset_of(first), keep=all(t.isascii() for t in own_text))
        headers = _headers(reader, first)
        if reader.keep and reader.lost:
            reader = _Reader(reader.charset, keep=False)
            headers = _headers(reader, first)
    return replace(headers, findings=_cleaned(reader))


_FRAME_MADE: Final = Finding(
    "frame_of_reference_made",
    "the source has no Frame of Reference UID; the results carry one made from its Series Instance UID",
    "warning",
)


def _headers(reader: _Reader, first: Dataset) -> Headers:
    identity = reader.copy(first, IDENTITY)
    for keyword in (*PATIENT_EMPTY, *STUDY_EMPTY):
        if keyword not in identity:
            setattr(identity, keyword, None)
    _whole(identity)
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


def _whole(identity: Dataset) -> None:
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


def _cleaned(reader: _Reader) -> tuple[Finding, ...]:
    wrong = sorted(reader.wrong | (set() if reader.charset.known else {"SpecificCharacterSet"}))
    if not wrong:
        return ()
    text = f"values of the source header that break DICOM's rules were put right or left out: {', '.join(wrong)}"
    return (Finding("header_cleaned", text, "warning"),)


# ---- reading -------------------------------------------------------------------------------------


def _stored(ds: Dataset, keyword: str) -> bytes | str | None:
    """Return the bytes of a text attribute as they were read, its text where pydicom has converted it, None if absent."""
    tag = Tag(keyword)
    if tag not in ds:
        return None
    try:
        value = ds.get_item(tag).value
        found = value if isinstance(value, (MultiValue, list, tuple)) else [value]
        if isinstance(value, bytes):
            return value
        if found and all(isinstance(v, PersonName) and v.original_string for v in found):
            parts = [v.original_string for v in found]
            return b"\\".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        return "\\".join("" if v is None else str(v) for v in found)
    except elements.BAD_VALUE:
        return ""


def _charset_of(ds: Dataset) -> CharacterSet:
    declared = _stored(ds, "SpecificCharacterSet") or ""
    text = declared.decode("latin_1") if isinstance(declared, bytes) else declared
    held = (_stored(ds, k) for k in (*IDENTITY, *EQUIPMENT) if dictionary_VR(Tag(k)) != "SQ")
    undeclared = b" ".join(v for v in held if isinstance(v, bytes))
    return character_set([v.strip(" \0") for v in text.split("\\")] if text else [], undeclared)


@dataclass(slots=True, eq=False)
class _Reader:
    """Reads attributes by the rules of their value representation, and remembers what broke them.

    keep: text that is not ASCII stays in the bytes of the source. lost: one of them could not.
    """

    charset: CharacterSet
    keep: bool
    wrong: set[str] = field(default_factory=set)
    lost: bool = False

    def copy(self, ds: Dataset, keywords: Iterable[str], depth: int = 0) -> Dataset:
        """Cleaned copies of these attributes, as far as they have a value; depth 0: outside of any sequence."""
        out = Dataset()
        if depth:  # bytes of the source are written as they are; `dicomseg.context.identify` says so of the whole
            out.set_original_encoding(
                is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
            )
        for keyword in keywords:
            element = self.element(ds, keyword, depth)
            if element is not None:
                out[element.tag] = element
        return out

    def text(self, ds: Dataset, keyword: str) -> str:
        """All of a text attribute, decoded and without its padding."""
        stored = _stored(ds, keyword)
        if isinstance(stored, bytes):
            stored = self.charset.decode(stored, name=dictionary_VR(Tag(keyword)) == "PN")
        return (stored or "").strip(" \0")

    def element(
        self, ds: Dataset, keyword: str, depth: int = 0
    ) -> DataElement | RawDataElement | None:
        """One attribute, None when it is absent, empty or worth nothing."""
        tag = Tag(keyword)
        vr = dictionary_VR(tag).split(" ", maxsplit=1)[0]
        if tag not in ds:
            return None
        if vr == "SQ":
            return self._sequence(ds, keyword, depth)
        if vr in _NUMBERS:
            return self._number(ds, keyword, vr)
        text = self.text(ds, keyword)
        if not text:
            return None
        parts = [text] if vr in _PARAGRAPHS else [p.strip(" \0") for p in text.split("\\")][:_MOST]
        good = [v for v in (_valid(keyword, vr, p) for p in _single(keyword, vr, parts)) if v]
        if good != parts:
            self.wrong.add(keyword)
        if not good:
            return None
        return self._kept(ds, tag, vr, good, same=good == parts)

    def _kept(
        self, ds: Dataset, tag: BaseTag, vr: str, good: list[str], *, same: bool
    ) -> DataElement | RawDataElement:
        stored = _stored(ds, keyword_for_tag(tag))
        if self.keep and not all(v.isascii() for v in good) and isinstance(stored, bytes):
            if same and self.charset.keeps(stored, name=vr == "PN"):
                padded = (b := stored.strip(b" \0")) + b" " * (len(b) % 2)
                return RawDataElement(tag, vr, len(padded), padded, 0, False, True)
            self.lost = True
        return DataElement(tag, vr, good if len(good) > 1 else good[0])

    def _number(self, ds: Dataset, keyword: str, vr: str) -> DataElement | None:
        value = elements.number(ds, keyword)
        whole = None if value is None or vr in {"FL", "FD"} else int(value)
        rule = ENUMERATED.get(keyword)
        if value is None or (rule is not None and not rule.fullmatch(str(whole))):
            self.wrong.add(keyword)
            return None
        return DataElement(Tag(keyword), vr, value if whole is None else whole)

    def _sequence(self, ds: Dataset, keyword: str, depth: int) -> DataElement | None:
        kept = []
        for item in elements.items(ds, keyword)[:_MOST]:
            charset = _charset_of(item) if "SpecificCharacterSet" in item else self.charset
            reader = _Reader(charset, self.keep, self.wrong)
            held = reader.copy(item, _keywords(item), depth + 1) if depth < _DEEPEST else Dataset()
            self.lost |= reader.lost or charset.terms != self.charset.terms
            if _complete(keyword, held):
                kept.append(held)
            else:
                self.wrong.add(keyword)
        return DataElement(Tag(keyword), "SQ", kept) if kept else None


def _keywords(item: Dataset) -> list[str]:
    """Public attributes of a sequence's item that the dictionary knows, without groups of pixels."""
    known = (
        keyword_for_tag(tag) for tag, _ in item.items() if not tag.is_private and tag.group < 0x6000
    )
    return [
        k for k in known if k and k != "SpecificCharacterSet" and dictionary_VR(Tag(k)) in _COPIED
    ]


_COPIED: Final = frozenset({*values.RULES, *_NUMBERS, "SQ"})


def _single(keyword: str, vr: str, parts: list[str]) -> list[str]:
    """Several values of an attribute that has one: the only different one, a name's first, a text's all in a row."""
    if len(parts) == 1 or dictionary_VM(Tag(keyword)) != "1":
        return parts
    different = list(dict.fromkeys(p for p in parts if p))
    if len(different) == 1 or (vr == "PN" and different):
        return different[:1]
    return [] if _IDENTIFIER.fullmatch(keyword) or vr not in {"LO", "SH"} else [" ".join(different)]


def _valid(keyword: str, vr: str, part: str) -> str | None:
    value = values.RULES[vr](part)
    if value is None:
        return None
    if (
        vr in {"LO", "SH"}
        and _IDENTIFIER.fullmatch(keyword)
        and len(value) < len(values.one_line(part))
    ):
        return None
    rule = ENUMERATED.get(keyword)
    return value if rule is None or rule.fullmatch(value) else None


def _complete(keyword: str, item: Dataset) -> bool:
    """Whether a sequence's item says what it must; half a pair is taken out, a plain type is added."""
    pair = ("UniversalEntityID", "UniversalEntityIDType")
    if any(k in item for k in pair) and not all(k in item for k in pair):
        for k in pair:
            item.pop(k, None)
    if keyword == "OtherPatientIDsSequence" and "TypeOfPatientID" not in item:
        item.TypeOfPatientID = "TEXT"
    if keyword.endswith("CodeSequence"):
        coded = "CodingSchemeDesignator" in item and (
            "CodeValue" in item or "LongCodeValue" in item
        )
        return "CodeMeaning" in item and (coded or "URNCodeValue" in item)
    return len(item) > 0 and all(k in item for k in _NEEDED.get(keyword, ()))


_NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ReferencedStudySequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
        "OtherPatientIDsSequence": ("PatientID",),
    }
)
"""Attributes without which an item of such a sequence says nothing and breaks the standard."""
