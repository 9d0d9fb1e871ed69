"""A node that is given marked patients, and whatever goes wrong with them, keeps every mark to itself.

Searched: log, audit trail, syslog, metrics, notices, the journal's reasons and details, what the commands print, and
the names of files. Marks are allowed in the files of the objects and results alone.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicomseg.read import parsing
from node.audit.trail import Trail
from node.audit.verify import verify
from node.demo import servers
from node.free_ports import free_ports
from tests.support.audit_messages import check_contents, check_structure, parse
from tests.support.raw_peer import RawPeer

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

MARKED: Final[Mapping[str, str]] = {
    "PatientName": "Qvyzx^Wendolyn",
    "PatientID": "MRKPID7712",
    "PatientBirthDate": "19310213",
    "AccessionNumber": "MRKACC9931",
    "OtherPatientIDs": "MRKOTHER55",
    "PatientAddress": "Brilligstrasse 9",
    "InstitutionName": "Vorpalhaus",
    "InstitutionAddress": "Gimbleweg 4",
    "ReferringPhysicianName": "Drquimby^Otto",
    "OperatorsName": "Slithytove^Anna",
    "PatientComments": "Frabjous day",
    "StudyID": "JUBJUB17",
    "AdmissionID": "MRKADM3",
}
MARKS: Final = (
    "Qvyzx", "Wendolyn", "MRKPID", "19310213", "MRKACC", "MRKOTHER", "Brillig", "Vorpal", "Gimble",
    "Drquimby", "Slithytove", "Frabjous", "JUBJUB", "MRKADM", "Tulgey", "Bandersnatch",
)  # fmt: skip
"""Parts of the values above, of the private element, and of the name in the corrected objects."""

CORRECTED: Final = "Bandersnatch^Wendolyn"
HOSTILE_TITLE: Final = b'E\x1b[2J\n"A\r<b>'


# ---- peers that quote what they were sent ----------------------------------------------------------


@pytest.fixture
def quoting_server() -> Iterator[int]:
    """A DICOMweb server that refuses everything, and quotes the patient in its answer."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = json.dumps({"error": list(MARKED.values())}).encode()
            self.send_response(409, MARKED["PatientID"])
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Warning", f'299 "{MARKED["PatientName"]}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
    yield int(found.server_address[1])
    found.shutdown()
    found.server_close()


@pytest.fixture
def quoting_pacs() -> Iterator[int]:
    """A PACS that refuses every object, and quotes the patient in its Error Comment."""

    def refuse(event: Any) -> Dataset:
        status = Dataset()
        status.Status = 0xC000
        status.ErrorComment = f"{event.dataset.PatientName} {event.dataset.PatientID}"[:64]
        return status

    (port,) = free_ports(1)
    ae = AE(ae_title="QUOTING")
    ae.add_supported_context(Verification)
    for syntax in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.33"):  # fmt: skip
        ae.add_supported_context(syntax)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])  # fmt: skip
    yield port
    if server is not None:
        server.shutdown()


class _Datagrams:
    """A syslog collector and a webhook: keeps what comes."""

    def __init__(self) -> None:
        self.link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.link.bind(("127.0.0.1", 0))
        self.port: int = self.link.getsockname()[1]
        self.received: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while True:
                self.received.append(self.link.recv(65_535))


# ---- what is sent ----------------------------------------------------------------------------------


def _mark(ds: Dataset, name: str = MARKED["PatientName"]) -> Dataset:
    for keyword, value in MARKED.items():
        setattr(ds, keyword, value)
    ds.PatientName = name
    block = ds.private_block(0x0019, "SOME VENDOR", create=True)
    block.add_new(0x01, "LO", "Tulgey wood")
    return ds


def _files(sources: list[Path], out: Path, change: Callable[[Dataset], Any]) -> list[Path]:
    out.mkdir()
    for source in sources:
        ds = dcmread(source)
        change(ds)
        ds.save_as(out / source.name)
    return sorted(out.iterdir())


def _data_set(ds: Dataset) -> bytes:
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    raw = out.getvalue()
    return raw[parsing.split_file_meta(raw)[0] :]


def _bad_data_sets(source: Path) -> Iterator[tuple[bytes, str]]:
    """Data sets with a patient in the place of something else, each with its SOP Instance UID in the command."""
    name = MARKED["PatientName"]
    for number, (old, new) in enumerate(
        [
            ("StudyInstanceUID", name),
            ("SeriesInstanceUID", name),
            ("SOPInstanceUID", name),
            ("StudyInstanceUID", f"1.2.3\n{name}\x1b[2J"),
            ("PixelSpacing", name.replace("^", "\\")),
            ("EchoTime", "Qvyzx"),
            ("ImagePositionPatient", "Qvyzx\\Wendolyn\\1"),
            ("Rows", ""),
            ("SpecificCharacterSet", name),
            ("InstanceNumber", "Wendolyn"),
        ]
    ):
        ds = _mark(dcmread(source))
        uid = f"2.25.4711.{number}"
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPInstanceUID, ds.SeriesInstanceUID = uid, f"2.25.4711.9{number}"
        if old == "Rows":
            del ds.Rows
            yield _data_set(ds), uid
            continue
        del ds[old]
        raw = _data_set(ds)
        yield _with_element(raw, old, new.encode("latin-1")), uid
    ds = _mark(dcmread(source))
    yield _data_set(ds)[:700], "2.25.4711.100"
    yield name.encode() * 50, "2.25.4711.101"
    yield _data_set(ds), name


def _with_element(raw: bytes, keyword: str, value: bytes) -> bytes:
    """Put an element into an explicit little endian data set, whatever a library thinks of its value."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = int(tag_for_keyword(keyword) or 0)
    value += b" " * (len(value) % 2)
    element = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    element += dictionary_VR(keyword).encode() + len(value).to_bytes(2, "little") + value
    at = 0
    while at + 8 <= len(raw):
        here = int.from_bytes(raw[at : at + 2], "little") << 16 | int.from_bytes(raw[at + 2 : at + 4], "little")  # fmt: skip
        if here > tag:
            break
        vr = raw[at + 4 : at + 6]
        if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR"}:
            length = int.from_bytes(raw[at + 8 : at + 12], "little")
            if length == 0xFFFFFFFF:  # no sequence of undefined length is before the elements above
                break
            at += 12 + length
        else:
            at += 8 + int.from_bytes(raw[at + 6 : at + 8], "little")
    return raw[:at] + element + raw[at:]


def _conflict(ds: Dataset) -> None:
    _mark(ds)
    pixels = bytearray(ds.PixelData)
    pixels[0] ^= 1
    ds.PixelData = bytes(pixels)


# ---- what is searched ------------------------------------------------------------------------------


def _hits(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the marks in each text, whatever their case."""
    found = {name: [m for m in MARKS if m.lower() in text.lower()] for name, text in texts.items()}
    return {name: marks for name, marks in found.items() if marks}


def _journal_texts(path: Path) -> str:
    """Every text of the journal."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        tables = [r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]  # fmt: skip
        rows = [r for t in tables for r in connection.execute(f"SELECT * FROM {t}").fetchall()]  # noqa: S608
    return "\n".join(map(str, rows))


def _decoded(datagram: bytes) -> str:
    values = re.findall(rb'value="([A-Za-z0-9+/=]*)"', datagram)
    return datagram.decode() + " ".join(base64.b64decode(v).decode("utf-8", "replace") for v in values)  # fmt: skip


def _said(here: Any, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "node", *arguments, "--config", str(here.config)],
        capture_output=True, text=True, check=False, timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return f"$ {' '.join(arguments)}\n{done.stdout}{done.stderr}"


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, what
        time.sleep(0.3)


# ---- the test --------------------------------------------------------------------------------------


def test_no_mark_of_a_patient_leaves_the_files_of_the_objects(  # noqa: PLR0915
    site: Callable[..., Any],
    small_coded: Any,
    oracle_bundle: Path,
    quoting_server: int,
    quoting_pacs: int,
    tmp_path: Path,
) -> None:
    collector = _Datagrams()
    (metrics,) = free_ports(1)
    extra = f'[audit]\nsyslog = "udp://127.0.0.1:{collector.port}"\n[metrics]\nport = {metrics}\n'
    more = (
        f'[[node.destination]]\nname = "quoting"\nkind = "dicom"\nae_title = "QUOTING"\nhost = "127.0.0.1"\n'
        f"port = {quoting_pacs}\n"
        f'[[node.destination]]\nname = "web"\nkind = "dicomweb"\nurl = "http://127.0.0.1:{quoting_server}/d"\n'
    )
    here = site(bundle=oracle_bundle, extra=extra, destination=more)
    log = here.folder / "node.log"

    # A patient, then the same objects with other pixels, then with another name; then nonsense, then strangers.
    marked = _files(small_coded.files, tmp_path / "marked", _mark)
    here.send(marked)
    delivered = here.folder / "delivered"
    _until(lambda: any(delivered.glob("*/seg.dcm")), 180, servers.tail(log, 20))
    here.send(_files(small_coded.files[:3], tmp_path / "conflict", _conflict), check=False)
    here.send(_files(small_coded.files, tmp_path / "named", lambda ds: _mark(ds, CORRECTED)))
    with suppress(OSError), RawPeer(here.ports.node) as peer:
        peer.send(RawPeer.request(called=servers.NODE_AET.encode().ljust(16)))
        peer.read()
        for data, uid in _bad_data_sets(small_coded.files[0]):
            peer.store(data, uid)
    for calling, called in ((HOSTILE_TITLE, servers.NODE_AET.encode()), (b"X", HOSTILE_TITLE)):
        with suppress(OSError), RawPeer(here.ports.node) as peer:
            peer.send(RawPeer.request(calling=calling.ljust(16)[:16], called=called.ljust(16)[:16]))
            peer.read()
    journal = here.journal
    _until(
        lambda: len([d for d in journal.deliveries.in_states("confirmed") if d.destination == "folder"]) >= 2
        and len([d for d in journal.deliveries.in_states("dead") if d.destination == "quoting"]) >= 1,
        180, servers.tail(log, 20),
    )  # fmt: skip
    _until(lambda: all(s.state != "receiving" for s in journal.series.in_states()), 60, "receiving")
    monitoring = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5).read()
    series = [s.key.series for s in journal.series.in_states() if s.key.series]
    said = [
        _said(here, *command)
        for command in (
            ("status",), ("status", "--json"), ("list",), ("list", "--json"), ("doctor", "--quick"), ("health",),
            ("retry", "--all-failed"), ("audit", "show"), ("audit", "verify"), ("check-config", "--offline"),
            ("why", small_coded.facts.get("study_uid", series[0])),
            *(("why", uid) for uid in series[:3]), ("why", series[0], "--json"),
        )
    ]  # fmt: skip
    time.sleep(2.0)
    here.stop()

    state = here.folder / "state"
    texts = {
        "log": log.read_text(encoding="utf-8"),
        "audit": "\n".join(p.read_text() for p in (state / "audit").iterdir()),
        "syslog": "\n".join(map(_decoded, collector.received)),
        "metrics": monitoring.decode(),
        "journal": _journal_texts(state / "journal.sqlite"),
        "commands": "\n".join(said),
        "names": "\n".join(str(p.relative_to(here.folder)) for p in here.folder.rglob("*")),
    }

    # Everything was there to be leaked, and each text has something to say.
    events = [json.loads(x)["event"] for x in texts["audit"].splitlines() if x.startswith('{"n":')]
    assert {
        "service_started", "series_received", "result_created", "result_sent", "delivery_failed", "identity_corrected",
        "object_quarantined", "association_ended", "association_refused", "retry_requested", "service_stopped",
    } <= set(events), sorted(set(events))  # fmt: skip
    stored = b"".join(p.read_bytes()[:4000] for p in (state / "spool").rglob("*.dcm"))
    assert all(m.encode() in stored for m in MARKS), "the marks were received"
    assert "MRKPID7712" in _said(here, "list", "--identity"), "the search can hit"
    assert _hits({**texts, "leak": "series 1.2 of Wendolyn"}) == {"leak": ["Wendolyn"]}

    # No sign of a peer acts on a terminal, in any of them; every line of the log is one event.
    for name, text in texts.items():
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", text), name
    assert all(json.loads(line)["event"] for line in texts["log"].splitlines())
    assert verify(Trail(state / "audit", b"", time.time), journal.changes.anchors()).is_intact
    for datagram in collector.received:
        message = parse(datagram.partition(b"\xef\xbb\xbf")[2])
        check_structure(message)
        check_contents(message)
