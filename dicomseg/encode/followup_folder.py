"""The files of a follow-up: the report, the page as picture and as PDF, and `result.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from dicomseg.compare.change import Change
from dicomseg.compare.comparison import ComparedStep, ComparedStudy
from dicomseg.compare.plain import change_json, reading_json
from dicomseg.draw.heading import Heading
from dicomseg.encode import followup_sr
from dicomseg.encode.context import declare_private_scheme, private_code, to_bytes
from dicomseg.encode.encapsulated import reference
from dicomseg.encode.followup_base import FollowUpInput, new_object
from dicomseg.encode.pictures import iso_date, spellings
from dicomseg.encode.secondary_capture import show_page
from dicomseg.encode.uids import ResultKey
from dicomseg.volume import Array

KIND: Final = "followup"
"""What `result.json` says that the folder is."""
SCHEMA: Final = 1
REPORT, PAGE, PDF = "followup.dcm", "followup_page.dcm", "followup_report.dcm"
PAGE_NUMBER, PDF_NUMBER = 9012, 9013


def encode_followup(inputs: FollowUpInput, language: str | None) -> dict[str, bytes]:
    """Encode every file; the last, `result.json`, lists the others with digests.

    language: of the page, a key of `dicomseg.draw.languages.LANGUAGES`; None: no page is made.
    """
    objects = {REPORT: followup_sr.encode(inputs)}
    if language is not None:
        objects |= _pages(inputs, language)
    files = {name: to_bytes(ds) for name, ds in objects.items()}
    listed = [_listed(name, ds, files[name]) for name, ds in objects.items()]
    text = json.dumps(to_json(inputs, listed), indent=1, ensure_ascii=False) + "\n"
    return {**files, "result.json": text.encode()}


def _pages(inputs: FollowUpInput, language: str) -> dict[str, Dataset]:
    # matplotlib takes half a second to import, and a report alone does not need it
    from dicomseg.draw.followup_page import FollowUpPage, draw_followup  # noqa: PLC0415
    from dicomseg.draw.languages import FOLLOWUP_TEXTS, LANGUAGES  # noqa: PLC0415

    words = FOLLOWUP_TEXTS[language]
    page = draw_followup(
        FollowUpPage(
            inputs.comparison, _heading(inputs), inputs.key.result_id, LANGUAGES[language], words
        )
    )
    return {PAGE: picture(inputs, page.rgb), PDF: document(inputs, page.pdf, words.title)}


def picture(inputs: FollowUpInput, rgb: Array) -> Dataset:
    """Encode the page as an RGB Secondary Capture Image. rgb: uint8 (rows, columns, 3)."""
    role = PAGE.removesuffix(".dcm")
    ds = new_object(inputs, SecondaryCaptureImageStorage, role, "OT", PAGE_NUMBER)
    show_page(ds, rgb)
    ds.DerivationDescription = "page drawn from measurements of several studies of the L4/5 level"
    if inputs.predecessor is not None:
        item = reference(ds.SOPClassUID, inputs.predecessor.uid(f"{role}.instance"))
        item.PurposeOfReferenceCodeSequence = [
            private_code("PREDECESSOR", "Replaced by this object")
        ]
        ds.ReferencedImageSequence = [item]
        declare_private_scheme(ds)
    return ds


def document(inputs: FollowUpInput, pdf: bytes, title: str) -> Dataset:
    """Encode the page as an encapsulated PDF (PS3.3 C.24.2), with the reports of all studies as its sources."""
    role = PDF.removesuffix(".dcm")
    ds = new_object(inputs, EncapsulatedPDFStorage, role, "DOC", PDF_NUMBER)
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = None
    ds.BurnedInAnnotation = "YES"
    ds.DocumentTitle = title
    ds.ConceptNameCodeSequence = []
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    ds.SourceInstanceSequence = [
        reference(held.SOPClassUID, held.SOPInstanceUID)
        for of_study in inputs.sources
        for held in of_study.values()
    ]
    if inputs.predecessor is not None:
        ds.PredecessorDocumentsSequence = [_replaced(inputs, role, inputs.predecessor)]
    return ds


def _replaced(inputs: FollowUpInput, role: str, before: ResultKey) -> Dataset:
    in_series = Dataset()
    in_series.SeriesInstanceUID = before.uid(f"{role}.series")
    in_series.ReferencedSOPSequence = [
        reference(EncapsulatedPDFStorage, before.uid(f"{role}.instance"))
    ]
    item = Dataset()
    item.StudyInstanceUID = inputs.comparison.newest.study
    item.ReferencedSeriesSequence = [in_series]
    return item


def _heading(inputs: FollowUpInput) -> Heading:
    """Who and what the page is about, from the object of the newest study."""
    identity = inputs.identity
    return Heading(
        names=spellings(inputs.newest),
        patient_id=inputs.headers.patient_id,
        born=iso_date(inputs.newest, "PatientBirthDate"),
        study_date=iso_date(inputs.newest, "StudyDate"),
        description="",
        model=f"{identity.model_name} {identity.software_version}",
        created=inputs.local_time.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


# ---- result.json ---------------------------------------------------------------------------------


def to_json(inputs: FollowUpInput, objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Convert a follow-up to the plain dictionary of its `result.json`."""
    comparison, before = inputs.comparison, inputs.predecessor
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "result_id": inputs.key.result_id,
        "predecessor": None if before is None else before.result_id,
        "created": inputs.created.isoformat(),
        "source": {"study": comparison.newest.study, "series": comparison.newest.series},
        "inputs": [s.result for s in comparison.studies],
        "studies": [_study_json(s) for s in comparison.studies],
        "steps": [_step_json(s) for s in comparison.steps],
        "objects": objects,
        "files": [],
    }


def _study_json(study: ComparedStudy) -> dict[str, Any]:
    values = {name: reading_json(r) for name, r in study.values.items()}
    return asdict(study) | {"values": values}


def _step_json(step: ComparedStep) -> dict[str, Any]:
    changes: Mapping[str, Change] = step.changes
    return {
        "before": step.before,
        "days": step.days,
        "notes": list(step.notes),
        "changes": {name: change_json(c) for name, c in changes.items()},
    }


def _listed(name: str, ds: Dataset, content: bytes) -> dict[str, Any]:
    return {
        "file": name,
        "sop_class": str(ds.SOPClassUID),
        "sop_instance": str(ds.SOPInstanceUID),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
