"""The viewer's web server: one origin, reading only, nothing for strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from node.demo import ohif, servers
from node.free_ports import free_ports

STUDY = "2.25.7"


class Archive(BaseHTTPRequestHandler):
    """A pretended PACS that tells what it was asked."""

    dropped = 0

    def do_GET(self) -> None:
        if "drop" in self.path and not Archive.dropped:
            Archive.dropped += 1
            self.connection.close()  # as an archive closes an idle connection under a question
            return
        request = {
            "path": self.path,
            "host": self.headers["Host"],
            "accept": self.headers["Accept"],
        }
        body = json.dumps(request).encode()
        self.send_response(200 if "missing" not in self.path else 404)
        self.send_header("Content-Type", 'multipart/related; boundary="b"')
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "secret=1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[ohif.Viewer]:
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "index.html").write_text("the viewer", encoding="utf-8")
    (dist / "app.js").write_text("code", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("no", encoding="utf-8")
    archive = ThreadingHTTPServer((servers.LOOPBACK, 0), Archive)
    Thread(target=archive.serve_forever, daemon=True).start()
    (port,) = free_ports(1)
    url = f"http://{servers.LOOPBACK}:{archive.server_port}"
    running = ohif.serve(ohif.application(dist, ohif.SCRIPTS, url), port)
    yield running
    running.stop()
    archive.shutdown()
    archive.server_close()


def test_every_page_address_is_the_viewer_and_a_missing_file_is_missing(
    viewer: ohif.Viewer,
) -> None:
    assert httpx.get(viewer.url).text == "the viewer"
    page = httpx.get(viewer.link(STUDY))
    assert (page.text, page.headers["cache-control"]) == ("the viewer", "no-store")
    assert httpx.get(f"{viewer.url}/app.js").text == "code"
    assert httpx.get(f"{viewer.url}/other.js").status_code == 404


def test_our_own_settings_are_served(viewer: ohif.Viewer) -> None:
    answer = httpx.get(f"{viewer.url}/app-config.js")
    assert "id: 'lumbar'" in answer.text
    assert "http" not in answer.text  # no server but the one it came from
    assert answer.headers["cache-control"] == "no-store"


def test_the_archive_is_asked_with_the_raw_path_and_the_browsers_own_host(
    viewer: ohif.Viewer,
) -> None:
    path = "/dicom-web/studies/1.2/series%2Fx?includefield=all&limit=3"
    answer = httpx.get(viewer.url + path, headers={"Accept": "application/dicom+json"})
    assert answer.json() == {
        "path": path,
        "host": f"{servers.LOOPBACK}:{viewer.port}",
        "accept": "application/dicom+json",
    }
    assert answer.headers["content-type"] == 'multipart/related; boundary="b"'
    assert "set-cookie" not in answer.headers
    assert httpx.get(f"{viewer.url}/dicom-web/missing").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/dicom-web/studies", "/viewer", "/app-config.js"])
def test_nothing_can_be_written(viewer: ohif.Viewer, method: str, path: str) -> None:
    assert httpx.request(method, viewer.url + path).status_code == 405


def test_other_names_and_other_folders_get_nothing(viewer: ohif.Viewer) -> None:
    named = httpx.get(viewer.url, headers={"Host": "elsewhere.example"})
    assert named.status_code == 400
    assert httpx.get(f"{viewer.url}/%2e%2e/secret.txt").status_code == 404


def test_a_silent_archive_is_a_bad_gateway(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("", encoding="utf-8")
    nowhere, port = free_ports(2)
    url = f"http://{servers.LOOPBACK}:{nowhere}"
    running = ohif.serve(ohif.application(tmp_path, ohif.SCRIPTS, url), port)
    try:
        answer = httpx.get(f"{running.url}/dicom-web/studies")
        assert (answer.status_code, answer.text) == (502, "The PACS does not answer.")
    finally:
        running.stop()


def test_a_connection_closed_under_a_question_is_asked_again(viewer: ohif.Viewer) -> None:
    Archive.dropped = 0
    answer = httpx.get(f"{viewer.url}/dicom-web/drop")
    assert answer.status_code == 200
    assert Archive.dropped == 1
