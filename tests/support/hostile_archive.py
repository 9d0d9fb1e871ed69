"""A PACS and a DICOMweb server on loopback that answer queries and retrievals as a test says."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)


@dataclass
class Answers:
    """find: matches for a query. get: data sets for a C-GET. status: how C-FIND ends."""

    find: Callable[[Dataset], Iterable[Dataset]]
    get: Callable[[], list[Dataset]] = list
    status: int = 0x0000
    stored: list[int] = field(default_factory=list)


def match(**values: Any) -> Dataset:
    """Return one answer to a query."""
    found = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about broken values
        for keyword, value in values.items():
            setattr(found, keyword, value)
    return found


def listing(study: str, series: str, *uids: str) -> Callable[[Dataset], Iterable[Dataset]]:
    """Return the answers of a PACS that has one series."""

    def find(query: Dataset) -> Iterator[Dataset]:
        if query.QueryRetrieveLevel == "SERIES":
            yield match(StudyInstanceUID=study, SeriesInstanceUID=series, Modality="MR")
        for uid in uids if query.QueryRetrieveLevel == "IMAGE" else ():
            yield match(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid)

    return find


@contextmanager
def archive(answers: Answers) -> Iterator[int]:
    """A query and retrieve SCP on loopback; yields its port."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for found in answers.find(event.identifier):
            if event.assoc.is_aborted or event.is_cancelled:
                return
            yield 0xFF00, found
        if answers.status:
            yield answers.status, None

    def get(event: evt.Event) -> Iterator[Any]:
        objects = answers.get()
        yield len(objects)
        for one in objects:
            yield 0xFF00, one

    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_supported_context(MRImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def item(**values: str) -> dict[str, Any]:
    """Return one match of QIDO-RS; keys are tags after an underscore, as _0020000E."""
    return {tag.removeprefix("_"): {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def part_of(ds: Dataset) -> bytes:
    """Return a data set as a DICOM file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def body_of(*files: bytes, boundary: str = "b") -> bytes:
    """Return a multipart body."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + f + b"\r\n" for f in files) + f"--{boundary}--\r\n".encode()


@contextmanager
def web_archive(
    query: Callable[[str], list[dict[str, Any]]],
    retrieve: Callable[[Callable[[bytes], None]], None],
    headers: dict[str, str] | None = None,
) -> Iterator[str]:
    """A DICOMweb server on loopback; retrieve writes the body of WADO-RS. Yields its address."""
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            is_query = path.endswith(("/studies", "/series", "/instances"))
            self.send_response(200)
            for name, value in ({} if is_query else headers or {}).items():
                self.send_header(name, value)
            if is_query:
                body = json.dumps(query(path)).encode()
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            if "Content-Type" not in (headers or {}):
                self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')  # fmt: skip
            self.end_headers()

            def write(data: bytes) -> None:
                if stopping.is_set():
                    raise ConnectionError
                self.wfile.write(data)

            try:
                retrieve(write)
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
