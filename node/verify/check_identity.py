"""Checks of who a result belongs to and who made it: the same in every object of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomseg.encode.sanitise import IDENTITY
from dicomseg.encode.uids import ResultKey
from dicomseg.read import attributes
from node.verify.objects import ResultSet, elements

Complaint = tuple[str, str]
"""(file name, sentence)."""

_ALIKE: Final = (
    *IDENTITY, "SpecificCharacterSet", "StudyInstanceUID", "Manufacturer", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions", "StationName", "SeriesDate", "SeriesTime",
)  # fmt: skip
"""Attributes that all objects have alike: patient, study, node, time of the series."""
_REQUEST: Final = (
    "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription", "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure", "IssuerOfAccessionNumberSequence",
)  # fmt: skip
"""Of a request, in the form of an image's series and in that of a report."""
_TEXT_VRS: Final = frozenset({"LO", "SH", "PN", "ST", "LT", "UT", "UC"})
_FORMS: Final = ("binary", "fractional", "labelmap")
_NOT_DECODED: Final = ("\x1b", "\ufffd")
"""An escape sequence, and the sign for bytes that are no character."""
_ACQUISITION, _PROCESSING = "109101", "109102"
_IN_SPACE: Final = frozenset({"SEG", "MR", "M3D"})
"""Modalities of objects that lie in the patient's space."""


def same_identity(results: ResultSet) -> Iterator[Complaint]:
    """Find objects of another patient, study, request, node or time than the others; values are not named."""
    group_10 = {
        e.keyword for ds in results.objects.values() for e in ds.group_dataset(0x10) if e.keyword
    }
    for keyword in sorted({*_ALIKE, *group_10}):
        yield from _different(results, partial(_value, tag=Tag(keyword)), keyword)
    yield from _different(results, _requests, "the request")


def texts_are_readable(results: ResultSet) -> Iterator[Complaint]:
    """Find text that the character set of its object does not decode: what is damaged alike in all is no difference."""
    for name, ds in results.objects.items():
        damaged = {
            e.keyword
            for _, e in elements(ds)
            if e.VR in _TEXT_VRS and any(mark in str(e.value) for mark in _NOT_DECODED)
        }
        for keyword in sorted(damaged):
            yield name, f"{keyword} is not text of the object's character set"


def same_scanner(results: ResultSet) -> Iterator[Complaint]:
    """Find objects whose Acquisition Equipment is not the scanner, or whose algorithm is not named."""
    yield from _different(results, lambda ds: _made_by(ds, _ACQUISITION), "Acquisition Equipment")
    for name, ds in results.objects.items():
        node = [attributes.text(ds, k) for k in ("Manufacturer", "ManufacturerModelName")]
        for item in _contributions(ds, _ACQUISITION):
            if [
                attributes.text(item, k) for k in ("Manufacturer", "ManufacturerModelName")
            ] == node:
                yield name, "the node is named as Acquisition Equipment; that is the scanner"
        algorithms = _contributions(ds, _PROCESSING)
        model = f"model {str(results.result['model']['digest'])[:12]}"
        versions = "\\".join(attributes.text(i, "SoftwareVersions") for i in algorithms)
        if model not in versions:
            yield name, "no Contributing Equipment names the model of result.json"


def one_space(results: ResultSet) -> Iterator[Complaint]:
    """Find objects in another frame of reference than the source."""
    frame = results.result["source"]["frame_of_reference"]
    for name, ds in results.objects.items():
        named = {
            str(e.value)
            for _, e in elements(ds)
            if e.keyword in {"FrameOfReferenceUID", "ReferencedFrameOfReferenceUID"} and e.value
        }
        if named - {frame}:
            yield name, "a Frame of Reference UID differs from that of the source"
        if (
            attributes.text(ds, "Modality") in _IN_SPACE
            and attributes.text(ds, "FrameOfReferenceUID") != frame
        ):
            yield name, "has not the Frame of Reference UID of the source"


def same_predecessor(results: ResultSet) -> Iterator[Complaint]:
    """Find objects that name no predecessor, or another one than `result.json`."""
    before = results.result["predecessor"]
    for name, ds in results.objects.items():
        named = set(predecessors(ds))
        role = name.removesuffix(".dcm")
        # Of a segmentation in another form than its matrix asks for, the role has the form's name.
        roles = (role, *(f"{role}.{form}" for form in _FORMS))
        uids = set() if before is None else {ResultKey(before).uid(f"{r}.instance") for r in roles}
        if not named <= uids or len(named) != (before is not None):
            what = "no predecessor" if not named else "a predecessor"
            yield name, f"names {what}, against the predecessor of result.json"


def only_research(results: ResultSet) -> Iterator[Complaint]:
    """Find objects that do not say that they are for research and unverified."""
    for name, ds in results.objects.items():
        modality = attributes.text(ds, "Modality")
        if attributes.text(ds, "ContentQualification") != "RESEARCH":
            yield name, "Content Qualification is not RESEARCH"
        if modality == "SR" and attributes.text(ds, "VerificationFlag") != "UNVERIFIED":
            yield name, "Verification Flag is not UNVERIFIED"
        notes = [
            attributes.text(i, "ContributionDescription") for i in _contributions(ds, _PROCESSING)
        ]
        if not any("research use only" in note for note in notes):
            yield name, 'no Contributing Equipment says "research use only"'


def _different(
    results: ResultSet, value: Callable[[Dataset], str], what: str
) -> Iterator[Complaint]:
    """Name the objects whose value is not that of most."""
    values = {name: value(ds) for name, ds in results.objects.items()}
    if len(set(values.values())) < 2:
        return
    usual = Counter(values.values()).most_common(1)[0][0]
    for name, held in values.items():
        if held != usual:
            yield name, f"{what} differs from that of the other objects"


def _value(ds: Dataset, *, tag: BaseTag) -> str:
    """A value as text; an absent attribute is not an empty one."""
    return json.dumps(ds[tag].to_json_dict(None, 0)) if tag in ds else "absent"


def _requests(ds: Dataset) -> str:
    """Return the requests of an object in one form for images and reports."""
    items = (
        *attributes.items(ds, "RequestAttributesSequence"),
        *attributes.items(ds, "ReferencedRequestSequence"),
    )
    return json.dumps([_request(item) for item in items])


def _request(item: Dataset) -> Mapping[str, Any]:
    held = ((k, item[k].to_json_dict(None, 0)) for k in _REQUEST if k in item)
    return {k: v for k, v in held if v.get("Value")}


def _contributions(ds: Dataset, purpose: str) -> list[Dataset]:
    """Items of Contributing Equipment with a purpose."""
    return [
        item
        for item in attributes.items(ds, "ContributingEquipmentSequence")
        if any(
            attributes.text(code, "CodeValue") == purpose
            for code in attributes.items(item, "PurposeOfReferenceCodeSequence")
        )
    ]


def _made_by(ds: Dataset, purpose: str) -> str:
    return json.dumps([item.to_json_dict() for item in _contributions(ds, purpose)])


def predecessors(ds: Dataset) -> Iterator[str]:
    """Yield the SOP instances that an object names as those it replaces."""
    for item in attributes.items(ds, "PredecessorDocumentsSequence"):
        for _, element in elements(item):
            if element.keyword == "ReferencedSOPInstanceUID":
                yield str(element.value)
    for item in attributes.items(ds, "ReferencedImageSequence"):
        codes = attributes.items(item, "PurposeOfReferenceCodeSequence")
        if any(attributes.text(code, "CodeValue") == "PREDECESSOR" for code in codes):
            yield attributes.text(item, "ReferencedSOPInstanceUID")
