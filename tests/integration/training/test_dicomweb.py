"""Import from a DICOMweb server, and by the command."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from tests.support.exported_study import (
    imported,
)
from training.cli.app import app
from training.data.cases import list_cases_in, load_case
from training.errors import PeerFailed, UsageError
from training.importing.dicomweb import fetched_studies

# DICOMweb


def _served(folder: Path) -> type[BaseHTTPRequestHandler]:
    """QIDO-RS for series and WADO-RS for the objects of a series, of the files below a folder."""
    files: dict[str, list[Path]] = {}
    kinds: dict[str, str] = {}
    for file in sorted(folder.rglob("*.dcm")):
        ds = dcmread(file, stop_before_pixels=True)
        files.setdefault(str(ds.SeriesInstanceUID), []).append(file)
        kinds[str(ds.SeriesInstanceUID)] = ds.Modality

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Bearer right":
                self.send_error(401)
                return
            path = self.path.split("?")[0].rstrip("/")
            if path.endswith("/series"):
                rows = []
                for uid, kind in kinds.items():
                    row = Dataset()
                    row.SeriesInstanceUID, row.Modality = uid, kind
                    rows.append(row.to_json_dict())
                self._answer(json.dumps(rows).encode(), "application/dicom+json")
                return
            parts = b"".join(
                b"--part\r\nContent-Type: application/dicom\r\n\r\n" + p.read_bytes() + b"\r\n"
                for p in files[path.rsplit("/", 1)[1]]
            )
            kind = 'multipart/related; type="application/dicom"; boundary=part'
            self._answer(parts + b"--part--", kind)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
            """Say nothing."""

    return Handler


@pytest.fixture
def server(exported: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _served(exported)) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}/dicom-web"
        made.shutdown()
        thread.join()


def test_a_study_from_dicomweb_gives_the_same_case_as_its_files(
    exported: Path, tmp_path: Path, server: str
) -> None:
    imported(exported, tmp_path / "files")
    (tmp_path / "web" / ".incoming-killed").mkdir(parents=True)  # of an import that was killed
    with fetched_studies(server, ["1.2.3"], tmp_path / "web", "Bearer right") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        imported(folder, tmp_path / "web", source="dicomweb")
    first, second = (load_case(list_cases_in(tmp_path / n)[0]) for n in ("files", "web"))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.image, second.image)
    assert not list((tmp_path / "web").glob(".incoming*"))


def test_a_server_that_refuses_is_a_peer_that_failed(tmp_path: Path, server: str) -> None:
    with (
        pytest.raises(PeerFailed, match="HTTP 401"),
        fetched_studies(server, ["1.2.3"], tmp_path, "no"),
    ):
        pass
    nowhere = "http://127.0.0.1:9/dicom-web"
    with (
        pytest.raises(PeerFailed, match=r"127\.0\.0\.1:9"),
        fetched_studies(nowhere, ["1.2.3"], tmp_path),
    ):
        pass
    assert not list(tmp_path.glob(".incoming*"))


@pytest.mark.parametrize(
    ("url", "study"),
    [
        ("ftp://host/x", "1.2"),
        ("host:8042", "1.2"),
        ("http://me:secret@host/x", "1.2"),
        ("http://host/x", "../1"),
    ],
)
def test_addresses_and_uids_are_checked_before_anything_is_asked(
    tmp_path: Path, url: str, study: str
) -> None:
    with pytest.raises(UsageError) as refused, fetched_studies(url, [study], tmp_path):
        pass
    assert "secret" not in str(refused.value)


# The command


def test_the_command_imports_says_so_and_ends_with_the_code(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    run = CliRunner()
    given = ["import", "--out", str(tmp_path / "out"), "--licence", "CC0"]
    done = run.invoke(app, [*given, "--dicom", str(exported)])
    assert done.exit_code == 0
    assert "1 imported, 0 already there" in done.output
    monkeypatch.setenv("LUMBAR_DICOMWEB_AUTHORIZATION", "Bearer right")
    done = run.invoke(app, [*given, "--dicomweb", server, "--study", "1.2.3"])
    assert "0 imported, 1 already there" in done.output
    for wrong in ([], ["--dicomweb", server], ["--dicom", "x", "--study", "1"]):
        assert run.invoke(app, [*given, *wrong]).exception.exit_code == 2  # type: ignore[union-attr]
    refused = run.invoke(app, [*given, "--dicom", str(tmp_path)])
    assert refused.exception.exit_code == 4  # type: ignore[union-attr]
