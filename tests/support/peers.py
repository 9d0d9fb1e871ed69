"""A PACS and a DICOMweb server on loopback that answer as a test says."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SegmentationStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from tests.support.parcels import SERIES, STUDY

CLASS_NOT_SUPPORTED, SYNTAX_NOT_SUPPORTED = 0x0122, 0xC122
"""Failure Reasons (PS3.18 I.2.2)."""


@dataclass
class Peer:
    """A server under test control.

    held: what it holds by SOP instance; got: SOP class and transfer syntax of each, as it came. refuse: the status it answers to storing one. ends: objects at which
    it aborts the association, or refuses the complete request with HTTP 400. cuts: objects at which it
    closes the HTTP connection. most: objects that it takes in one association before it aborts it. slow_s, silent_s: time it takes for an object and a query. related: whether it
    tells the number of a series' instances. find: the status that C-FIND ends with; QIDO answers `code`
    with `body` when one of them is given. classes, syntaxes: what the SCP accepts, and what the web server does not refuse.
    """

    held: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    ends: set[str] = field(default_factory=set)
    cuts: set[str] = field(default_factory=set)
    most: int = 1000
    slow_s: float = 0.0
    silent_s: float = 0.0
    related: bool = True
    find: int = 0x0000
    code: int = 200
    body: bytes | None = None
    asked: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = (SegmentationStorage, ComprehensiveSRStorage)
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    got: list[tuple[str, str]] = field(default_factory=list)


def _matches(peer: Peer, wanted: Dataset) -> list[Dataset]:
    """What C-FIND finds, at the level of the query."""
    level = wanted.QueryRetrieveLevel
    uids = [u for u in peer.held if wanted.get("SOPInstanceUID", "") in {"", u}]
    matches = []
    for uid in uids[:1] if level == "SERIES" else uids:
        found = Dataset()
        found.QueryRetrieveLevel, found.StudyInstanceUID, found.SeriesInstanceUID = (
            level,
            STUDY,
            SERIES,
        )
        if level == "IMAGE":
            found.SOPInstanceUID = uid
        elif peer.related:
            found.NumberOfSeriesRelatedInstances = len(peer.held)
        matches.append(found)
    return matches


def _qido(peer: Peer, path: str, keys: dict[str, list[str]]) -> list[dict[str, Any]]:
    """What QIDO-RS finds, at the level of the path."""
    wanted = keys.get("SOPInstanceUID", [""])[0]
    uids = [u for u in peer.held if wanted in {"", u}]
    if path.endswith("/instances"):
        return [{"00080018": {"vr": "UI", "Value": [u]}} for u in uids]
    found: dict[str, Any] = {"0020000E": {"vr": "UI", "Value": [SERIES]}}
    if peer.related:
        found["00201209"] = {"vr": "IS", "Value": [len(peer.held)]}
    return [found] if uids else []


@contextmanager
def pacs(peer: Peer, *, query: bool = True, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A storage and query SCP on loopback; context: for TLS."""

    taken: dict[Any, int] = {}

    def store(event: evt.Event) -> int:
        ds = event.dataset
        uid = str(ds.SOPInstanceUID)
        time.sleep(peer.slow_s)
        taken[event.assoc] = taken.get(event.assoc, 0) + 1
        if uid in peer.ends or taken[event.assoc] > peer.most:
            event.assoc.abort()
            return 0xC000
        if uid in peer.refuse:
            return peer.refuse[uid]
        peer.held[uid] = bytes(event.request.DataSet.getvalue())
        peer.got.append((str(ds.SOPClassUID), str(event.context.transfer_syntax)))
        return 0x0000

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        time.sleep(peer.silent_s)
        for match in _matches(peer, event.identifier):
            yield 0xFF00, match
        if peer.find:
            yield peer.find, None

    ae = AE("PACS")
    ae.require_called_aet = True
    for sop_class in peer.classes:
        ae.add_supported_context(sop_class, list(peer.syntaxes))
    ae.add_supported_context(Verification)
    if query:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=context,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)],
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _parts(body: bytes, kind: str) -> list[bytes]:
    """Files in a multipart body."""
    parts = body.split(b"--" + kind.split("boundary=")[1].encode())[1:-1]
    return [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts]


def _stow(peer: Peer, parts: list[bytes]) -> tuple[int, dict[str, Any]]:
    """What STOW-RS answers to these files."""
    if any(u.encode() in part for u in peer.ends for part in parts):
        return 400, {}
    answer: dict[str, Any] = {"00081199": {"vr": "SQ", "Value": []}}
    refused = False
    for content in parts:
        ds = dcmread(DicomBytesIO(content))
        uid, sop_class = str(ds.SOPInstanceUID), str(ds.SOPClassUID)
        syntax = str(ds.file_meta.TransferSyntaxUID)
        named: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        reason = peer.refuse.get(uid, 0)
        if sop_class not in peer.classes:
            reason = CLASS_NOT_SUPPORTED
        elif syntax not in peer.syntaxes:
            reason = SYNTAX_NOT_SUPPORTED
        if reason:
            refused = True
            named["00081197"] = {"vr": "US", "Value": [reason]}
            answer.setdefault("00081198", {"vr": "SQ", "Value": []})["Value"].append(named)
        else:
            peer.held[uid] = content
            peer.got.append((sop_class, syntax))
            answer["00081199"]["Value"].append(named)
    return (409 if refused else 200), answer


@contextmanager
def web(peer: Peer, *, query: bool = True, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A STOW-RS and QIDO-RS server on loopback; context: for https."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if any(u.encode() in body for u in peer.cuts):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._say(*_stow(peer, _parts(body, self.headers["Content-Type"])))

        def do_GET(self) -> None:
            url = urlparse(self.path)
            peer.asked.append(url.path)
            if not query:
                self._say(501, {})
            elif peer.code != 200 or peer.body is not None:
                self._answer(peer.code, b"" if peer.body is None else peer.body)
            else:
                self._say(200, _qido(peer, url.path, parse_qs(url.query)))

        def _say(self, code: int, body: object) -> None:
            self._answer(code, json.dumps(body).encode())

        def _answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
