"""Cases that need a running node: what is right in its journal, its log and its answers."""

from __future__ import annotations

import http.server
import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from bench import CASES, Bench
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.dimse_primitives import C_STORE


def store_bytes(port: int, data: bytes, syntax: str, uid: str) -> int:
    """Send the bytes of a data set as they are, as one C-STORE; its status, -1 for none."""
    ae = AE("HOSTILE")
    ae.dimse_timeout = ae.network_timeout = 120
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.4", [syntax])
    peer = ae.associate("127.0.0.1", port, ae_title="NODE")
    if not peer.is_established:
        return -1

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
    request.DataSet = BytesIO(data)
    peer._reactor_checkpoint.clear()
    while not peer._is_paused:
        time.sleep(0.01)
    peer.dimse.send_msg(request, peer.accepted_contexts[0].context_id)
    _, answer = peer.dimse.get_msg(block=True)
    peer._reactor_checkpoint.set()
    status = -1 if answer is None or answer.Status is None else int(answer.Status)
    peer.release()
    return status


def _uid_in(data: bytes) -> str:
    at = data.find(b"\x08\x00\x18\x00UI")
    return (
        data[at + 8 : at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")]
        .decode("ascii")
        .strip("\0")
    )


def poison(syntax: str) -> Callable[[Bench], str]:
    """The object stops no other sender, before and after a restart, and a person sees it."""

    def check(bench: Bench) -> str:
        made = bench.folder / "object.bin"
        subprocess.run(
            [
                sys.executable,
                str(CASES / "fault" / bench.name / "make.py"),
                str(bench.phantom),
                str(made),
            ],
            check=True,
        )
        data = made.read_bytes()
        uid = (
            "1.2.826.0.1.3680043.8.498.1"
            if syntax == DeflatedExplicitVRLittleEndian
            else _uid_in(data)
        )
        if syntax == DeflatedExplicitVRLittleEndian:
            uid = _uid_in(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, 100_000))
        with bench.serving() as node:
            status = store_bytes(node.port, data, syntax, uid)
            time.sleep(8)
            node.storescu(bench.phantom)
            node.delivered(1)
            if node.rss_mb() > 600:
                return f"{node.rss_mb():.0f} MB in the serving process"
        with bench.serving() as node:
            if not node.echo():
                return "no echo after the restart"
            if node.rss_mb() > 600:
                return f"{node.rss_mb():.0f} MB after the restart"
            if status == 0:
                seen = json.dumps([bench.node("status"), node.rows()])
                if "quarantine" not in seen and "incomplete" not in seen:
                    return "acknowledged, and nothing in status or list names it"
        lines = [x for x in node.log().splitlines() if "StepFailed" in x]
        return f"{len(lines)} lines of StepFailed" if len(lines) > 20 else ""

    return check


def tcp_probes(bench: Bench) -> str:
    """A health check that opens and closes the port refuses no sender."""
    with bench.serving() as node:
        stop = threading.Event()

        def probe() -> None:
            while not stop.is_set():
                with socket.create_connection(("127.0.0.1", node.port), 5):
                    pass
                time.sleep(0.05)

        threads = [threading.Thread(target=probe, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(5)
        answers = [node.echo() for _ in range(5)]
        sent = node.storescu(bench.phantom)
        stop.set()
        return (
            ""
            if all(answers) and sent.returncode == 0
            else f"echo {answers}, storescu {sent.returncode}"
        )


@contextmanager
def dicomweb(query: Callable[[int], int]) -> Iterator[tuple[str, list[str]]]:
    """A DICOMweb server that takes everything and answers queries with a status by number."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))

            uids = [
                u.decode() for u in re.findall(rb"\x08\x00\x18\x00UI..([0-9.]+)", body, re.DOTALL)
            ]
            value = [{"00081155": {"vr": "UI", "Value": [u]}} for u in uids]
            self._answer(200, {"00081199": {"vr": "SQ", "Value": value}})

        def do_GET(self) -> None:
            seen.append(self.path)
            status = query(len(seen))
            uid = self.path.split("SOPInstanceUID=")[-1].split("&")[0]
            self._answer(
                status, [{"00080018": {"vr": "UI", "Value": [uid]}}] if status == 200 else []
            )

        def _answer(self, status: int, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", seen
    finally:
        server.shutdown()


def commit_of_nothing(bench: Bench) -> str:
    """A query that fails confirms nothing; it is asked again until it answers."""
    made = bench.make()
    gate = threading.Event()
    with dicomweb(lambda _: 200 if gate.is_set() else 503) as (url, seen):
        where = f'name = "web"\nkind = "dicomweb"\nurl = "{url}"\nfirst_wait_seconds = 1\n'
        with bench.serving(destination=where) as node:
            node.storescu(made)
            node.wait(lambda rows: bool(rows) and rows[0]["state"] in {"encoded", "delivered"})
            time.sleep(6)
            if node.rows()[0]["state"] == "delivered":
                return f"delivered after {len(seen)} queries that failed"
            gate.set()
            node.delivered(1, 40)
    return ""


def damaged_result(bench: Bench) -> str:
    """An emptied file of one result blocks no other delivery."""
    later = servers_port()
    where = f'name = "pacs"\nkind = "dicom"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {later}\nfirst_wait_seconds = 1\nproof = "none"\n'
    other = bench.folder / "other"
    _renewed(bench.phantom, other)
    with bench.serving(destination=where) as node:
        node.storescu(bench.phantom)
        node.storescu(other)
        node.wait(lambda rows: len(rows) == 2 and all(r["state"] == "encoded" for r in rows))
        first = min(
            (bench.folder / "state" / "results").glob("*/seg.dcm"), key=lambda p: p.stat().st_mtime
        )
        first.write_bytes(b"")
        got = bench.folder / "pacs"
        got.mkdir()
        pacs = subprocess.Popen(["storescp", "-od", str(got), str(later)])
        try:
            node.delivered(1, 60)
            seen = json.dumps(bench.node("status")["attention"])
        finally:
            pacs.terminate()
            pacs.wait()
    return "" if "seg.dcm" in seen else f"attention does not name it: {seen[:200]}"


def servers_port() -> int:
    """A free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _renewed(source: Path, target: Path) -> None:
    """The same series under UIDs of its own."""
    target.mkdir(parents=True)
    for number, file in enumerate(sorted(source.glob("*.dcm"))):
        ds = dcmread(file)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.91", "2.25.92"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.93.{number}"
        ds.save_as(target / file.name)


def database_locked(bench: Bench) -> str:
    """A lock of 50 s on the journal loses nothing that was acknowledged."""
    made = bench.make()
    with bench.serving() as node:
        held = sqlite3.connect(bench.folder / "state" / "journal.sqlite", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(50, lambda: None)
        timer.start()
        sender = threading.Thread(target=lambda: node.storescu(made))
        sender.start()
        timer.join()
        held.execute("ROLLBACK")
        sender.join()
        node.storescu(made)
        rows = node.delivered(1)
        return "" if rows[0]["instances"] == 64 else f"{rows[0]['instances']} objects"


def four_senders(bench: Bench) -> str:
    """Four senders of one series at once: one result of 64 slices."""
    made = bench.make()
    with bench.serving() as node:
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(node.storescu(made).returncode))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = node.delivered(1)
        results = len(list((bench.folder / "state" / "results").iterdir()))
        good = codes == [0] * 4 and len(rows) == 1 and rows[0]["instances"] == 64 and results == 1
        return "" if good else f"{codes} {rows} {results} results"


def sender_stalls(bench: Bench) -> str:
    """A pause of 12 s is no end: one result of 64 slices, delivered once."""
    made = sorted(bench.make().glob("*.dcm"))
    with bench.serving() as node:
        node.storescu(*made[:30])
        node.wait(lambda rows: rows[0]["state"] == "incomplete", 30)
        node.storescu(*made[30:])
        rows = node.delivered(1)
        results = len(list((bench.folder / "delivered").iterdir()))
        return "" if rows[0]["instances"] == 64 and results == 1 else f"{rows}, {results} results"


def long_uid(bench: Bench) -> str:
    """A UID of 66 characters: an answer to the sender, and a person sees why."""
    made = bench.make()
    with bench.serving() as node:
        sent = node.storescu(made)
        time.sleep(3)
        seen = json.dumps([bench.node("status"), node.rows()])
        if "StudyInstanceUID" not in seen and "Study Instance UID" not in seen:
            return f"storescu {sent.returncode}; nothing names the UID: {seen[:200]}"
        return ""


def wrong_port_beside_good(bench: Bench) -> str:
    """The good destination is served at once, the other waits with its reason."""
    closed = servers_port()
    where = (
        f'name = "closed"\nkind = "dicom"\nae_title = "X"\nhost = "127.0.0.1"\nport = {closed}\n'
        f'[[node.destination]]\nname = "good"\nkind = "folder"\npath = "{bench.folder / "delivered"}"'
    )
    made = bench.phantom if bench.name == "stranger-destination" else bench.make()
    with bench.serving(destination=where) as node:
        node.storescu(made)
        node.wait(lambda rows: bool(rows) and rows[0]["state"] == "encoded")
        time.sleep(3)
        said = json.dumps(bench.node("status")["attention"])
        there = len(list((bench.folder / "delivered").glob("*/seg.dcm")))
        return "" if there == 1 and str(closed) in said else f"{there} delivered; {said[:200]}"


def nul_padded(bench: Bench) -> str:
    """AE titles padded with NUL are accepted or rejected, with one line in the log."""
    with bench.serving() as node:
        wrong = []
        for kind in ("nul", "blank"):
            script = CASES / "operate" / bench.name / "make.py"
            done = subprocess.run(
                [sys.executable, str(script), str(node.port), "NODE", kind],
                capture_output=True,
                text=True,
                check=False,
            )
            answer = done.stdout.split()[0] if done.stdout else done.stderr[-80:]
            time.sleep(0.5)
            if answer not in {"accepted", "rejected"}:
                wrong.append(f"{kind}: {answer}")
        if "Association" not in node.log():
            wrong.append("no line in the log")
        return "; ".join(wrong)


def corrected_patient(first: str, second: str, patient: str) -> Callable[[Bench], str]:
    """The corrected study has a new result for the right patient, which names the earlier one."""

    def check(bench: Bench) -> str:
        made = bench.make()
        with bench.serving() as node:
            node.storescu(made / first)
            node.wait(
                lambda rows: bool(rows) and rows[0]["state"] in {"delivered", "skipped", "failed"}
            )
            before = node.rows()[0]
            if before["state"] != "delivered":
                return f"first: {before['state']} {before['reason']}"
            sent = node.storescu(made / second)
            deadline = time.monotonic() + 90
            results: list[Path] = []
            while time.monotonic() < deadline and len(results) < 2:
                time.sleep(1)
                results = sorted(
                    (bench.folder / "delivered").glob("*/measurements.dcm"),
                    key=lambda p: p.stat().st_mtime,
                )
            if len(results) < 2:
                return f"storescu {sent.returncode}, no second result; {node.rows()[0]}"
            newest = dcmread(results[-1])
            if newest.PatientID != patient:
                return f"newest result is of {newest.PatientID}"
            if "PredecessorDocumentsSequence" not in newest:
                return "the new result names no predecessor"
            story = json.dumps(bench.node("why", before["series"]))
            return "" if "correct" in story else "why does not tell of the correction"

    return check


def stalled_sender(bench: Bench) -> str:
    """Slices that come after a result make a second one, which names the first."""
    made = bench.make()
    with bench.serving() as node:
        node.storescu(made / "first")
        node.wait(lambda rows: rows[0]["state"] in {"delivered", "skipped", "failed", "incomplete"})
        early = node.rows()[0]["state"] == "delivered"
        node.storescu(made / "second")
        node.wait(lambda rows: rows[0]["instances"] == 18 and rows[0]["state"] == "delivered")
        results = sorted(
            (bench.folder / "delivered").glob("*/measurements.dcm"), key=lambda p: p.stat().st_mtime
        )
        newest = dcmread(results[-1])
        named = "PredecessorDocumentsSequence" in newest
        return (
            ""
            if named == early and len(results) == 1 + early
            else f"{len(results)} results, predecessor named: {named}"
        )


def private_class(bench: Bench) -> str:
    """A private storage class among the images: an answer for each, and a result."""
    made = sorted(bench.make().glob("*.dcm"))
    sets = [dcmread(p) for p in made]
    with bench.serving() as node:
        ae = AE("SCANNER")
        for sop_class in {d.SOPClassUID for d in sets}:
            ae.add_requested_context(sop_class, [ExplicitVRLittleEndian])
        peer = ae.associate("127.0.0.1", node.port, ae_title="NODE")
        if len(peer.accepted_contexts) != 2:
            peer.release()
            return f"{len(peer.accepted_contexts)} of 2 contexts accepted"
        statuses = {int(peer.send_c_store(d).get("Status", -1)) for d in sets}
        peer.release()
        node.delivered(1)
        return "" if -1 not in statuses else f"statuses {statuses}"


def count_too_high(bench: Bench) -> str:
    """A count that is too high: processed with a warning."""
    made = bench.make()
    with bench.serving() as node:
        node.storescu(made)
        rows = node.wait(
            lambda rows: bool(rows) and rows[0]["state"] in {"delivered", "incomplete", "failed"}
        )
        return "" if rows[0]["state"] == "delivered" else f"{rows[0]['state']}: {rows[0]['reason']}"


def two_time_points(bench: Bench) -> str:
    """Two acquisitions at the same positions: one is used or the reason names both."""
    made = bench.make()
    with bench.serving() as node:
        node.storescu(made)
        rows = node.wait(
            lambda rows: (
                bool(rows) and rows[0]["state"] in {"delivered", "incomplete", "failed", "skipped"}
            )
        )
        good = (
            rows[0]["state"] == "delivered"
            or "position" in rows[0]["reason"]
            or "acquisition" in rows[0]["reason"]
        )
        return "" if good else f"{rows[0]['state']}: {rows[0]['reason']}"


def refused_classes(bench: Bench) -> str:
    """A peer that takes only MR: the MR arrives, the others are refused at once by name."""
    port, configuration = servers_port(), CASES / "operate" / bench.name / "assoc.cfg"
    got = bench.folder / "got"
    got.mkdir()
    pacs = subprocess.Popen(
        ["storescp", "-od", str(got), "-xf", str(configuration), "MR", str(port)]
    )
    where = f'name = "mronly"\nkind = "dicom"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\nproof = "none"\n'
    try:
        with bench.serving(destination=where) as node:
            node.storescu(bench.phantom)
            node.wait(lambda rows: bool(rows) and rows[0]["state"] == "encoded")
            time.sleep(5)
            said = json.dumps(bench.node("status")["attention"])
            return (
                ""
                if len(list(got.iterdir())) == 1 and "seg.dcm" in said
                else f"{list(got.iterdir())} {said[:200]}"
            )
    finally:
        pacs.terminate()
        pacs.wait()


def _quiet(check: Callable[[Bench], str]) -> Callable[[Bench], str]:
    def run(bench: Bench) -> str:
        _config.LOG_HANDLER_LEVEL = "none"
        return check(bench)

    return run


CHECKS: dict[str, Callable[[Bench], str]] = {
    name: _quiet(check)
    for name, check in {
        "deflate-bomb": poison(DeflatedExplicitVRLittleEndian),
        "poison-truncated-deflate": poison(DeflatedExplicitVRLittleEndian),
        "poison-us-of-3-bytes": poison(ExplicitVRLittleEndian),
        "tcp-probes": tcp_probes,
        "commit-of-nothing": commit_of_nothing,
        "damaged-result-blocks-destination": damaged_result,
        "database-locked": database_locked,
        "same-series-four-senders": four_senders,
        "sender-stalls": sender_stalls,
        "uid-66-characters": long_uid,
        "wrong-port-beside-good": wrong_port_beside_good,
        "nul-padded-ae": nul_padded,
        "patient-corrected": corrected_patient("first", "second", "P-2"),
        "recv-corrected-patient": corrected_patient("first", "corrected", "4711"),
        "recv-private-sop-class": private_class,
        "stalled-sender": stalled_sender,
        "count-too-high": count_too_high,
        "two-time-points": two_time_points,
        "refused-classes": refused_classes,
        "stranger-destination": wrong_port_beside_good,
    }.items()
}

__all__ = ["CHECKS"]
