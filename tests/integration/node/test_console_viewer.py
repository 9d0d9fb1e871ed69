"""The viewer behind the console: who gets it, under which policy, and what of the archive; over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from node.audit.entry import AuditEvent, Outcome
from node.config.destinations import DicomwebDestination
from node.config.sections import Config, NodeConfig
from node.config.web import WebConfig
from node.console import archive as archive_of
from node.console.app import application
from node.console.console import Console
from node.console.guard import POLICY
from node.console.users import Role, User
from node.demo import ohif
from node.free_ports import free_ports
from node.journal.journal import Journal
from tests.support.consoles import HASH, PASSWORD

STUDY = "1.2.1"  # of `facts`
FRAME = b"--b\r\nContent-Type: application/octet-stream\r\n\r\n\x00\x01\r\n--b--"
INDEX = '<!doctype html><script>window.one = 1</script><script src="/app.js"></script>'


@dataclass
class Heard:
    """What the archive was asked, with all headers."""

    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    kind: str = "application/dicom+json"
    body: bytes = b"[]"
    status: int = 200
    pause_s: float = 0.0
    more: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def archive(heard: Heard) -> Iterator[int]:
    """A pretended archive that says what the test wants; the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heard.requests.append((self.command, self.path, dict(self.headers)))
            time.sleep(heard.pause_s)
            self.send_response(heard.status, "patient MEIER")
            self.send_header("Content-Type", heard.kind)
            self.send_header("Content-Length", str(len(heard.body)))
            self.send_header("Set-Cookie", "archive=1")
            for name, value in heard.more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(heard.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


@dataclass
class Running:
    """A console that serves; address: of the browser's line."""

    address: str
    port: int
    audited: list[tuple[str, str, object]]
    """Event, user, study."""

    @contextmanager
    def browser(self, role: str = "") -> Iterator[httpx.Client]:
        """A browser in which a user of this role has logged in."""
        with httpx.Client(
            base_url=self.address, timeout=20, headers={"origin": self.address}
        ) as client:
            if role:
                answer = client.post("/login", data={"name": role, "password": PASSWORD})
                assert answer.status_code == 303
            yield client

    def raw(self, request: bytes) -> bytes:
        """The beginning of the answer to bytes that no client would send."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as link:
            link.sendall(request)
            return link.recv(4096)


@pytest.fixture
def running(tmp_path: Path, archive: int, facts: Any, clock: Any) -> Iterator[Running]:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text(INDEX)
    for name in (
        "app.js",
        "assets/logo.svg",
        "code.wasm",
        "silent-refresh.html",
        "sw.js",
        ".hidden",
    ):
        (dist / name).write_text(f"of {name}")
    (tmp_path / "secret.js").write_text("secret")
    (dist / "link.js").symlink_to(tmp_path / "secret.js")
    token = tmp_path / "token"
    token.write_text("Bearer of-the-node")
    state = tmp_path / "state"
    destination = DicomwebDestination(
        name="web", kind="dicomweb", url=f"http://127.0.0.1:{archive}/pacs/rs/", authorization_file=str(token), timeout_seconds=2.0,
    )  # fmt: skip
    web = WebConfig(port=8080, ohif=str(dist), archive="web")
    config = Config(
        node=NodeConfig(ae_title="NODE", state=state, destination=(destination,)), web=web
    )
    Journal.open(state / "journal.sqlite", clock).instances.add(facts(1))
    journal = Journal.reading(state / "journal.sqlite", clock)
    audited: list[tuple[str, str, object]] = []

    def record(event: AuditEvent, user: str, what: Mapping[str, object], _how: Outcome) -> None:
        audited.append((str(event), user, what.get("study")))

    console = Console.of(config, journal, lambda: journal, record)
    for role in Role:
        console.users.put(User(role, role, HASH))
    (port,) = free_ports(1)
    served = ohif.serve(application(console), port)  # type: ignore[arg-type]  # any ASGI application
    yield Running(f"http://127.0.0.1:{port}", port, audited)
    served.stop()


def test_who_opened_a_study_is_audited_once(running: Running) -> None:
    with running.browser("physician") as client:
        for path in ("", "/series", "/metadata"):
            assert client.get(f"/dicom-web/studies/{STUDY}{path}").status_code == 200
        assert client.get("/dicom-web/studies/1.2.9").status_code == 403
    with running.browser("operator") as client:
        client.get(f"/dicom-web/studies/{STUDY}")
        assert client.get("/series/1").status_code == 200
    with running.browser("viewer") as client:
        assert client.get("/series/1").status_code == 200
    opened = [entry for entry in running.audited if entry[0] == "study_opened"]
    assert opened == [("study_opened", "physician", STUDY), ("study_opened", "operator", STUDY)]


# ---- the viewer's files --------------------------------------------------------------------------


def test_without_a_login_the_link_leads_to_the_login_and_back(running: Running) -> None:
    link = f"/viewer?StudyInstanceUIDs={STUDY}&result=1.3"
    with running.browser() as client:
        answer = client.get(link)
        assert answer.status_code == 303
        assert client.get(answer.headers["location"]).text.count(link.replace("&", "&amp;")) == 1
        form = {"name": "physician", "password": PASSWORD, "next": link}
        assert client.post("/login", data=form).headers["location"] == link
        assert client.get(link).text == INDEX
        # What a page asks by itself is told, not led away.
        client.cookies.clear()
        assert client.get("/app.js", headers={"sec-fetch-mode": "cors"}).status_code == 401
        assert (
            client.get("/dicom-web/studies", headers={"sec-fetch-mode": "cors"}).status_code == 401
        )


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_the_viewer_is_for_physicians(running: Running, heard: Heard, role: str) -> None:
    with running.browser(role) as client:
        for path in (
            "/viewer",
            "/app.js",
            "/app-config.js",
            f"/dicom-web/studies/{STUDY}/metadata",
        ):
            assert client.get(path).status_code == 403, path
    assert heard.requests == []


def test_files_come_from_the_table_alone_and_under_their_policy(running: Running) -> None:
    with running.browser("physician") as client:
        page = client.get("/viewer")
        policy = page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert "'sha256-" in policy
        assert (
            f"connect-src blob: data: {running.address}/dicom-web/ {running.address}/code.wasm;"
            in policy
        )
        assert "form-action 'none'; frame-ancestors 'none'" in policy
        assert page.headers["cross-origin-embedder-policy"] == "require-corp"
        script = client.get("/app.js")
        assert (script.text, script.headers["content-type"]) == (
            "of app.js",
            "text/javascript; charset=utf-8",
        )
        assert script.headers["content-security-policy"] == policy  # also a worker's own
        assert script.headers["cache-control"] == "private, max-age=3600"
        settings = client.get("/app-config.js").text
        assert "id: 'lumbar'" in settings
        assert "showStudyList = false" in settings
        # A service worker would stand before every page of the console.
        assert (client.get("/sw.js").status_code, client.get("/sw.js").text) == (200, "")
        for path in ("/link.js", "/silent-refresh.html", "/index.html", "/.hidden", "/secret.js", "/assets", "/viewer/", "/assets/../../secret.js",
                     "/%2e%2e/secret.js", "/assets%2flogo.svgx"):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert "secret" not in answer.text
        # The console's own pages keep theirs.
        assert client.get("/series").headers["content-security-policy"] == POLICY


def test_the_page_of_a_series_links_into_the_viewer_for_physicians(running: Running) -> None:
    with running.browser("physician") as client:
        assert client.get("/series/1").status_code == 200


# ---- the archive ---------------------------------------------------------------------------------


def test_the_archive_hears_the_node_and_nothing_of_the_browser(running: Running, heard: Heard) -> None:  # fmt: skip
    heard.kind, heard.body = 'multipart/related; type="application/octet-stream"; boundary=b', FRAME
    path = f"/studies/{STUDY}/series/1.2.3/instances/1.2.3.1/frames/1"
    with running.browser("physician") as client:
        mine = {
            "authorization": "Basic mine", "accept": "multipart/related", "x-remote-user": "root", "forwarded": "for=1",
            "x-forwarded-host": "evil.example", "range": "bytes=0-1", "referer": f"{running.address}/viewer",
        }  # fmt: skip
        answer = client.get(f"/dicom-web{path}?accept=image%2Fjpeg", headers=mine)
    assert (answer.status_code, answer.content) == (200, FRAME)
    assert answer.headers["content-type"] == heard.kind
    assert "set-cookie" not in answer.headers
    assert "sandbox" in answer.headers["content-security-policy"]
    (method, asked, headers) = heard.requests[0]
    assert (method, asked) == ("GET", f"/pacs/rs{path}?accept=image%2Fjpeg")
    given = {k.lower(): v for k, v in headers.items()}
    assert given["authorization"] == "Bearer of-the-node"
    assert given["accept-encoding"] == "identity"
    assert set(given) == {
        "host",
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "user-agent",
    }
    assert given["host"].startswith("127.0.0.1:")
    assert given["host"] != running.address.removeprefix("http://")


@pytest.mark.parametrize(
    "target",
    [
        b"/dicom-web/studies/1.2.1/../../system", b"/dicom-web/studies/1.2.1/%2e%2e/%2e%2e/system", b"/dicom-web//studies/1.2.1",
        b"/dicom-web/studies/1.2.1//series", b"http://evil.example/dicom-web/studies/1.2.1", b"/dicom-web/studies/1.2.1%0d%0aX:y",
        b"/dicom-web/http://evil.example/", b"/dicom-web/@evil.example/studies/1.2.1", b"/dicom-web/..%2fstudies/1.2.1",
        b"//evil.example/dicom-web/studies/1.2.1", b"/dicom-web\\studies", b"/dicom-web/studies/1.2.1%00", b"/dicom-web/system",
        b"/dicom-web/studies/1.2.1?a=%0d%0aHost:%20evil", b"/dicom-web/studies/1.2.1%3Fx=1", b"*", b"/dicom-web/studies/%31.2.1",
    ],
)  # fmt: skip
def test_no_address_leads_anywhere_else(running: Running, heard: Heard, target: bytes) -> None:
    with running.browser("physician") as client:
        cookie = "; ".join(f"{k}={v}" for k, v in client.cookies.items()).encode()
    host = running.address.removeprefix("http://").encode()
    answer = running.raw(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nCookie: " + cookie + b"\r\n\r\n")  # fmt: skip
    assert int(answer.split(b" ")[1]) in {400, 404}, answer
    assert heard.requests == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_the_archive_is_read_and_never_written(running: Running, heard: Heard, method: str) -> None:
    with running.browser("physician") as client:
        answer = client.request(
            method, f"/dicom-web/studies/{STUDY}", headers={"content-length": "0"}
        )
        assert answer.status_code == 405
    assert heard.requests == []


def test_only_studies_of_this_node_are_read(running: Running, heard: Heard) -> None:
    with running.browser("physician") as client:
        for path in ("/studies/9.9.9/metadata", "/studies?StudyInstanceUID=9.9.9", "/studies?StudyInstanceUID=*",
                     f"/studies?StudyInstanceUID={STUDY}&0020000d=9.9", f"/studies/{STUDY}/series?StudyInstanceUID=9.9.9"):  # fmt: skip
            assert client.get(f"/dicom-web{path}").status_code == 403, path
        assert heard.requests == []
        # A list by patient id: what this node has no series of is left out.
        items = [{"0020000D": {"Value": [uid]}} for uid in ("9.9.9", STUDY, "")] + [{}]
        heard.body = json.dumps(items).encode()
        assert client.get("/dicom-web/studies?00100020=4711").json() == [items[1]]
        heard.body = b'{"not": "a list"'
        assert client.get("/dicom-web/studies?00100020=4711").status_code == 502
        heard.kind, heard.body = "application/dicom", b"DICM"
        assert client.get("/dicom-web/studies?00100020=4711").status_code == 502


def test_addresses_of_the_archive_become_those_of_the_console(running: Running, heard: Heard) -> None:  # fmt: skip
    there = f"http://pacs.internal:8042/pacs/rs/studies/{STUDY}/series/1.2.3/instances/1.4/bulk/00420011"
    heard.body = json.dumps(
        [{"00420011": {"vr": "OB", "BulkDataURI": there}, "0008103E": {"Value": ["http://x"]}}]
    ).encode()
    with running.browser("physician") as client:
        (found,) = client.get(f"/dicom-web/studies/{STUDY}/metadata").json()
    assert (
        found["00420011"]["BulkDataURI"]
        == f"{running.address}/dicom-web/studies/{there.partition('/studies/')[2]}"
    )
    assert found["0008103E"]["Value"] == ["http://x"]


@pytest.mark.parametrize(
    ("kind", "status", "more", "expected"),
    [
        ("text/html", 200, {}, 502), ("image/svg+xml", 200, {}, 502), ("application/xhtml+xml", 200, {}, 502), ("", 200, {}, 502),
        ("application/dicom+json", 401, {}, 502), ("application/dicom+json", 500, {}, 502), ("application/dicom+json", 404, {}, 404),
        ("application/dicom+json", 302, {"Location": "http://evil.example/"}, 502),
        ("application/dicom+json", 200, {"Content-Encoding": "gzip"}, 502), ("image/jpeg", 200, {}, 200),
    ],
)  # fmt: skip
def test_of_the_answers_only_dicom_goes_on(
    running: Running, heard: Heard, kind: str, status: int, more: dict[str, str], expected: int
) -> None:
    heard.kind, heard.status, heard.more, heard.body = kind, status, more, b"<script>MEIER</script>"
    with running.browser("physician") as client:
        answer = client.get(f"/dicom-web/studies/{STUDY}/rendered")
    assert answer.status_code == expected
    if expected != 200:
        assert answer.headers["content-type"].startswith("text/plain")
        assert "MEIER" not in answer.text
        assert "location" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_slow_a_long_and_a_dead_archive_end_in_a_sentence(
    running: Running, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/dicom-web/studies/{STUDY}/metadata"
    with running.browser("physician") as client:
        heard.pause_s = 4.5
        began = time.monotonic()
        answer = client.get(path)
        assert (answer.status_code, time.monotonic() - began < 4.4) == (502, True)
        assert "does not respond" in answer.text
        assert client.get("/series").status_code == 200  # the console goes on meanwhile
        heard.pause_s = 0.0
        monkeypatch.setattr(archive_of, "MOST_JSON", 10)
        heard.body = b"[" + b" " * 50 + b"]"
        assert client.get(path).status_code == 502
        # Streamed: what is beyond the limit breaks off, and its reader sees that.
        monkeypatch.setattr(archive_of, "MOST_BYTES", 10)
        heard.kind, heard.body = "application/octet-stream", b"x" * 100_000
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(path)


def test_more_questions_than_turns_wait_and_are_told(
    running: Running, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_of, "WAIT_S", 0.2)
    heard.pause_s = 0.9
    found: list[int] = []
    with running.browser("physician") as client:

        def ask() -> None:
            found.append(client.get(f"/dicom-web/studies/{STUDY}/metadata").status_code)

        threads = [threading.Thread(target=ask) for _ in range(archive_of.MOST_AT_ONCE + 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == archive_of.MOST_AT_ONCE + 6
        assert set(found) == {200, 503}
        heard.pause_s = 0.0
        assert client.get(f"/dicom-web/studies/{STUDY}/metadata").status_code == 200


# ---- tests of destinations -----------------------------------------------------------------------


def test_destinations_are_tested_in_the_background_and_the_page_shows_what_they_accept(
    running: Running, heard: Heard
) -> None:
    heard.pause_s = 0.5
    with running.browser("viewer") as client:
        assert client.post("/destinations/echo", data={"token": "x"}).status_code == 403
    with running.browser("operator") as client:
        page = client.get("/destinations").text
        assert "No test since the console was started." in page
        token = page.partition('name="token" value="')[2].partition('"')[0]
        began = time.monotonic()
        answer = client.post("/destinations/echo", data={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/destinations")
        assert time.monotonic() - began < 2.0
        ends_at = time.monotonic() + 20
        while "answers QIDO-RS" not in (page := client.get("/destinations").text):
            assert time.monotonic() < ends_at, page
            time.sleep(0.1)
        assert "seg.dcm" in page
        assert "unknown" in page
        heard.status = 401
        client.post("/destinations/web/echo", data={"token": token})
        while "returned HTTP 401" not in (page := client.get("/destinations").text):
            assert time.monotonic() < ends_at + 20
            time.sleep(0.1)
        assert client.post("/destinations/none/echo", data={"token": token}).status_code == 404
