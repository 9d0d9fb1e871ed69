"""Checks of a report that a physician confirmed, which lies in no result folder: who, when, and of which report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.read import attributes
from node.verify import objects
from node.verify.check_identity import Complaint, predecessors
from node.verify.objects import ResultSet

_MOMENT: Final = re.compile(r"\d{14}(\.\d{1,6})?([+-]\d{4})?")
_NEEDED: Final = ("VerifyingObserverName", "VerifyingOrganization")


def verified_reports(results: ResultSet) -> Iterator[Complaint]:
    """Find verified reports that do not say who verified what and when, or that hold no value or reason."""
    for name, ds in results.reports.items():
        if attributes.text(ds, "VerificationFlag") == "VERIFIED":
            for sentence in (*_flags(ds), *_observers(ds), *_document(ds)):
                yield name, sentence


def _flags(ds: Dataset) -> Iterator[str]:
    if attributes.text(ds, "CompletionFlag") != "COMPLETE":
        yield "it is verified, and Completion Flag is not COMPLETE"
    if attributes.text(ds, "PreliminaryFlag") != "FINAL":
        yield "it is verified, and Preliminary Flag is not FINAL"
    if attributes.text(ds, "ContentQualification") != "RESEARCH":
        yield "Content Qualification is not RESEARCH"


def _observers(ds: Dataset) -> Iterator[str]:
    observers = attributes.items(ds, "VerifyingObserverSequence")
    if len(observers) != 1:
        yield "it does not name one verifying observer"
    for item in observers:
        for keyword in _NEEDED:
            if not attributes.text(item, keyword).strip("^= "):
                yield f"the verifying observer has no {keyword}"
        if not _MOMENT.fullmatch(attributes.text(item, "VerificationDateTime")):
            yield "Verification DateTime is not a moment"


def _document(ds: Dataset) -> Iterator[str]:
    named = list(predecessors(ds))
    if len(named) != 1 or attributes.text(ds, "SOPInstanceUID") in named:
        yield "it does not name the one report that it replaces"
    for item in attributes.items(ds, "PredecessorDocumentsSequence"):
        if attributes.text(item, "StudyInstanceUID") != attributes.text(ds, "StudyInstanceUID"):
            yield "its predecessor lies in another study"
    for group in objects.groups(ds):
        what = objects.quantity_name(objects.tracking(group))
        codes = {objects.concept(i) for i in attributes.items(group, "ContentSequence")}
        if not objects.numbers(group) and "NOTREPORTED" not in codes:
            yield f"{what}: neither a value nor why there is none"
