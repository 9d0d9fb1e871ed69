"""A PACS on loopback that stores, finds and gives back (C-GET), and changes objects on the way as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

CLASSES = (
    MRImageStorage, SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage,
    EncapsulatedPDFStorage, EncapsulatedSTLStorage,
)  # fmt: skip


@contextmanager
def altering_pacs(alter: Callable[[Dataset], None], *, gives: bool = True) -> Iterator[int]:
    """Serve on a free port; `alter` changes each object before it is kept. gives: whether it supports C-GET."""
    held: dict[str, Dataset] = {}

    def store(event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        alter(ds)
        held[str(ds.SOPInstanceUID)] = ds
        return 0x0000

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        uid = str(event.identifier.get("SOPInstanceUID", ""))
        if uid in held:
            match = Dataset()
            match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", uid
            yield 0xFF00, match

    def get(event: evt.Event) -> Iterator[Any]:
        series = str(event.identifier.SeriesInstanceUID)
        found = [ds for ds in held.values() if str(ds.SeriesInstanceUID) == series]
        yield len(found)
        for ds in found:
            yield 0xFF00, ds

    ae = AE("PACS")
    for sop_class in CLASSES:
        ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    ae.add_supported_context(Verification)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    if gives:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
