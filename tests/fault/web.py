"""A DICOMweb server that misbehaves as a scenario says: statuses, refusals within an answer, cuts, trickles."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread

from node.free_ports import free_ports
from tests.fault.destinations import Waits, bound, digest_of

WebMood = Literal[
    "well", "warns", "conflict", "some-refused", "busy", "large", "locked", "cuts", "redirects",
    "trickles", "noise",
]  # fmt: skip
"""warns: success with a warning for each object. conflict: 409, every object with a reason that passes. some-refused:
202, every other object out of resources. busy: 503 with Retry-After. large: 413 for more than one object. locked: 401.
cuts: ends the connection within the request. redirects: 307 to nowhere. trickles: a byte of the answer now and then.
noise: 200 with a body without DICOM JSON."""

_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"
_REFERENCED, _FAILED, _REASON, _WARNING = "00081199", "00081198", "00081197", "00081196"
_PATH: Final = "/dicom-web"


@dataclass
class MoodyWeb:
    """STOW-RS and QIDO-RS for as much as a delivery asks. mood: may change at any time. proof: of its section."""

    waits: Waits = field(default_factory=lambda: Waits(timeout=2.0))
    name: str = "web"
    proof: str = "query"
    mood: WebMood = "well"
    objects: dict[str, str] = field(default_factory=dict)
    """What it holds: digest of the data set by SOP Instance UID."""
    answers: dict[str, int] = field(default_factory=dict)
    """Requests to store by mood."""
    port: int = field(init=False)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)

    @property
    def section(self) -> str:
        return (
            f'[[node.destination]]\nname = "{self.name}"\nkind = "dicomweb"\nproof = "{self.proof}"\n'
            f'url = "http://127.0.0.1:{self.port}{_PATH}"\n{self.waits.lines}'
        )

    def held(self) -> dict[str, str]:
        return dict(self.objects)

    def start(self) -> None:
        """Listen."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.store(self)

            def do_GET(self) -> None:
                server.find(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = bound(lambda: ThreadingHTTPServer(("127.0.0.1", self.port), Handler))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # ---- STOW-RS ----

    def store(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request to store, as the mood says."""
        mood, length = self.mood, int(request.headers.get("Content-Length", 0))
        with self._lock:
            self.answers[mood] = self.answers.get(mood, 0) + 1
        if mood == "cuts":
            request.rfile.read(length // 2)
            request.close_connection = True
            with suppress(OSError):
                request.connection.shutdown(2)
            return
        files = list(_parts(request.rfile.read(length), request.headers["Content-Type"]))
        if mood in {"busy", "locked", "redirects"}:
            code, header = {
                "busy": (503, ("Retry-After", "1")),
                "locked": (401, ("WWW-Authenticate", "Bearer")),
                "redirects": (307, ("Location", "http://127.0.0.1:9/studies")),
            }[mood]
            _answer(request, code, b"", header)
        elif mood == "large" and len(files) > 1:
            _answer(request, 413, b"too large")
        else:
            self._judge(request, mood, files)

    def _judge(
        self, request: BaseHTTPRequestHandler, mood: WebMood, files: list[tuple[str, str, bytes]]
    ) -> None:
        taken, failed = [], []
        for sop_class, uid, content in files:
            with self._lock:
                self._count += 1
                refused = mood == "conflict" or (mood == "some-refused" and self._count % 2)
            item = {_SOP_CLASS: _text(sop_class), _SOP_INSTANCE: _text(uid)}
            if refused:
                reason = 0x0110 if mood == "conflict" else 0xA700
                failed.append({**item, _REASON: {"vr": "US", "Value": [reason]}})
                continue
            self.objects[uid] = digest_of(content)
            warning = {_WARNING: {"vr": "US", "Value": [0xB000]}} if mood == "warns" else {}
            taken.append({**item, **warning})
        body = {
            key: {"vr": "SQ", "Value": items}
            for key, items in ((_REFERENCED, taken), (_FAILED, failed))
            if items
        }
        content = b"<html>stored</html>" if mood == "noise" else json.dumps(body).encode()
        code = 409 if not taken else 202 if failed or mood == "warns" else 200
        if mood == "trickles":
            self._trickle(request, code, content)
        else:
            _answer(request, code, content)

    def _trickle(self, request: BaseHTTPRequestHandler, code: int, content: bytes) -> None:
        """Send a byte of the answer every half second, for as long as the mood lasts."""
        with suppress(OSError):
            request.send_response(code)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            for byte in content:
                if self.mood != "trickles" or self._server is None:
                    break
                request.wfile.write(bytes([byte]))
                time.sleep(0.5)
        request.close_connection = True

    # ---- QIDO-RS ----

    def find(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a query for an object; some moods are of the server and not of storing."""
        if self.mood in {"busy", "locked"}:
            _answer(request, 503 if self.mood == "busy" else 401, b"")
            return
        keys = parse_qs(urlsplit(request.path).query)
        uid = keys.get("SOPInstanceUID", [""])[0]
        found = [{"00080018": _text(u)} for u in self.objects if u == uid]
        _answer(request, 200, json.dumps(found).encode())


def _text(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def _answer(
    request: BaseHTTPRequestHandler, code: int, body: bytes, *headers: tuple[str, str]
) -> None:
    with suppress(OSError):
        request.send_response(code)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def _parts(body: bytes, kind: str) -> Iterator[tuple[str, str, bytes]]:
    """SOP class, instance and file of every part."""
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary)[1:-1]:
        content = part.partition(b"\r\n\r\n")[2][:-2]
        ds = dcmread(BytesIO(content), stop_before_pixels=True)
        yield str(ds.SOPClassUID), str(ds.SOPInstanceUID), content
