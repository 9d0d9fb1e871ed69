"""Checks that what an object refers to is in its folder or in the source series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.read import attributes
from node.verify.check_identity import Complaint, predecessors
from node.verify.objects import ResultSet, content, elements

_ELSEWHERE: Final = frozenset(
    {"ReferencedStudySequence", "ReferencedRequestSequence", "RequestAttributesSequence",
     "PredecessorDocumentsSequence", "ReferencedPatientSequence"}
)  # fmt: skip
"""Sequences that refer to objects of others or of earlier results."""
_SOURCE_SERIES: Final = "121232"
"""Source series for segmentation, DCM."""


def references_resolve(results: ResultSet) -> Iterator[Complaint]:
    """Find references to objects that neither the folder nor the source series has."""
    source = _source_instances(results)
    own = {attributes.text(ds, "SOPInstanceUID"): ds for ds in results.objects.values()}
    for name, ds in results.objects.items():
        unknown, other_class = 0, 0
        for item, uid in _references(ds):
            unknown += uid not in own and uid not in source
            sop_class = attributes.text(item, "ReferencedSOPClassUID")
            other_class += uid in own and sop_class != attributes.text(own[uid], "SOPClassUID")
        if unknown:
            yield name, f"{unknown} references to objects outside the folder and the source series"
        if other_class:
            yield name, f"{other_class} references with another SOP class than the object's"
    expected = results.result["source"]["instances"]
    if results.reports and len(source) != expected:
        yield (
            "",
            f"{len(source)} instances of the source series are named, of {expected} in result.json",
        )


def evidence_is_complete(results: ResultSet) -> Iterator[Complaint]:
    """Find reports whose evidence lacks the source series, or an object that their content refers to."""
    series = results.result["source"]["series"]
    for name, ds in results.reports.items():
        listed = dict(_evidence(ds))
        for item in content(ds):
            for held in attributes.items(item, "ReferencedSOPSequence"):
                if attributes.text(held, "ReferencedSOPInstanceUID") not in listed:
                    yield name, "its content refers to an object that its evidence does not list"
            if _names(item) and attributes.text(item, "UID") != series:
                yield name, "another source series than that of result.json"
        if series not in listed.values():
            yield name, "its evidence does not list the source series"
        for other in results.objects.values():
            uid = attributes.text(other, "SOPInstanceUID")
            if uid in listed and listed[uid] != attributes.text(other, "SeriesInstanceUID"):
                yield name, "its evidence lists an object in another series"


def segments_exist(results: ResultSet) -> Iterator[Complaint]:
    """Find references to segments that the segmentation does not describe."""
    segmentation = next(
        (d for d in results.objects.values() if attributes.text(d, "Modality") == "SEG"), None
    )
    if segmentation is None:
        yield "", "no segmentation among the objects"
        return
    items = attributes.items(segmentation, "SegmentSequence")
    described = {attributes.integer(i, "SegmentNumber") for i in items}
    for name, ds in results.objects.items():
        named = {
            int(e.value)
            for _, e in elements(ds)
            if e.keyword == "ReferencedSegmentNumber" and e.VM == 1
        }
        if named - described:
            yield name, "refers to a segment that the segmentation does not describe"


def _source_instances(results: ResultSet) -> set[str]:
    """SOP instances that the reports' evidence lists under the source series."""
    series = results.result["source"]["series"]
    return {uid for ds in results.reports.values() for uid, held in _evidence(ds) if held == series}


def _evidence(ds: Dataset) -> Iterator[tuple[str, str]]:
    """(SOP instance, series) of everything in a report's evidence."""
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in attributes.items(ds, keyword):
            for series in attributes.items(study, "ReferencedSeriesSequence"):
                for item in attributes.items(series, "ReferencedSOPSequence"):
                    uid = attributes.text(item, "ReferencedSOPInstanceUID")
                    yield uid, attributes.text(series, "SeriesInstanceUID")


def _references(ds: Dataset) -> Iterator[tuple[Dataset, str]]:
    """(item, SOP instance) of every reference, those to earlier results and to others' objects left out."""
    earlier = set(predecessors(ds))
    for item, element in elements(ds, _ELSEWHERE):
        if element.keyword == "ReferencedSOPInstanceUID" and str(element.value) not in earlier:
            yield item, str(element.value)


def _names(item: Dataset) -> bool:
    code = attributes.first_item(item, "ConceptNameCodeSequence")
    return code is not None and attributes.text(code, "CodeValue") == _SOURCE_SERIES
