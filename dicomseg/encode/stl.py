"""`surface.dcm`: the surfaces of all segments, as an encapsulated STL in LPS mm."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedSTLStorage

from dicomseg.encode.context import EncodeInput, coded_concept
from dicomseg.encode.encapsulated import Document, Series, encapsulate

SERIES_NUMBER: Final = 9007
TITLE: Final = "L4/5 surfaces in LPS millimetres"


def encode(inputs: EncodeInput, stl: bytes) -> Dataset:
    """Encode a binary STL."""
    series = Series(EncapsulatedSTLStorage, "surface", "M3D", SERIES_NUMBER, "surfaces")
    ds = encapsulate(inputs, series, Document(stl, "model/stl", TITLE))
    ds.BurnedInAnnotation = "NO"
    ds.FrameOfReferenceUID = inputs.headers.frame_of_reference_uid
    ds.PositionReferenceIndicator = None
    ds.MeasurementUnitsCodeSequence = [coded_concept(codes.UCUM.Millimeter)]
    source = Dataset()
    source.SeriesInstanceUID = inputs.source.grid.instances[0].series_uid
    source.ReferencedInstanceSequence = list(ds.SourceInstanceSequence)
    ds.ReferencedSeriesSequence = [source]
    return ds
