"""What encapsulated documents have in common: the document, its source, and the attributes they must not have."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicomseg.encode.context import EncodeInput, new_object
from dicomseg.encode.uids import ResultKey


@dataclass(frozen=True, slots=True)
class Document:
    """A document, its MIME type and its title."""

    content: bytes
    mime: str
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    """The series of its own that a document is in; number and what: as `name_series` takes them."""

    sop_class: str
    role: str
    modality: str
    number: int
    what: str


def encapsulate(inputs: EncodeInput, series: Series, document: Document) -> Dataset:
    """Start an object that holds a document (PS3.3 C.24.2), with the images it was made from."""
    ds = new_object(
        inputs, series.sop_class, series.role, series.modality, series.number, series.what
    )
    del ds.BodyPartExamined  # these series have none
    ds.AcquisitionDateTime = None
    ds.BurnedInAnnotation = "YES"
    ds.DocumentTitle = document.title
    ds.ConceptNameCodeSequence = []
    ds.MIMETypeOfEncapsulatedDocument = document.mime
    ds.EncapsulatedDocumentLength = len(document.content)
    ds.EncapsulatedDocument = document.content + b"\0" * (len(document.content) % 2)
    ds.SourceInstanceSequence = [
        reference(i.sop_class_uid, i.sop_instance_uid) for i in inputs.source.grid.instances
    ]
    if inputs.predecessor is not None:
        ds.PredecessorDocumentsSequence = [_predecessor(inputs, series, inputs.predecessor)]
    return ds


def _predecessor(inputs: EncodeInput, series: Series, before: ResultKey) -> Dataset:
    """Name the document of the same kind that this one replaces (PS3.3 C.24.2)."""
    document = reference(series.sop_class, before.uid(f"{series.role}.instance"))
    in_series = Dataset()
    in_series.SeriesInstanceUID = before.uid(f"{series.role}.series")
    in_series.ReferencedSOPSequence = [document]
    item = Dataset()
    item.StudyInstanceUID = inputs.source.grid.instances[0].study_uid
    item.ReferencedSeriesSequence = [in_series]
    return item


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item that refers to an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
