"""`report.dcm`: the page to plan with, as an encapsulated PDF."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.encapsulated import Document, Series, encapsulate

SERIES_NUMBER: Final = 9006


def encode(inputs: EncodeInput, pdf: bytes, title: str) -> Dataset:
    """Encode the PDF. title: what the document is called."""
    series = Series(EncapsulatedPDFStorage, "report", "DOC", SERIES_NUMBER, "page as PDF")
    ds = encapsulate(inputs, series, Document(pdf, "application/pdf", title))
    ds.ConversionType = "WSD"
    return ds
