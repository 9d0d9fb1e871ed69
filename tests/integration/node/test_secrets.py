"""No secret of a destination is shown, whatever goes wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.config.file import read_config
from node.config.words import masked
from node.deliver.start import steps
from node.event_log import EventLog
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow
from node.journal.states import SeriesEvent
from tests.support.mr_series import KEY
from tests.support.result_folders import list_objects

PASSWORD, TOKEN = "hunter2@x", "s3cr3t-t0ken"
FILES = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@host/a", "https://***@host/a"),
        ('url = "https://user:p@ss/w@host/a"', 'url = "https://***@host/a"'),
        ("https://host/a?token=abc&x=1 failed", "https://host/a?*** failed"),
        ("http://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
        ("PACS@127.0.0.1:104 does not answer", "PACS@127.0.0.1:104 does not answer"),
    ],
)
def test_user_part_and_query_of_a_url_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.fixture
def server() -> Iterator[Callable[[int], int]]:
    """Make a server on loopback that answers everything with one code and what it was sent in its body."""
    servers = []

    def make(code: int) -> int:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                self._echo()

            def do_POST(self) -> None:
                self._echo()

            def _echo(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                content = str(self.headers).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Location", f"http://user:{TOKEN}@127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(content)

        found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(found)
        return int(found.server_address[1])

    yield make
    for found in servers:
        found.shutdown()
        found.server_close()


def _published(state: Path, clock: Any) -> Journal:
    folder = state / "results" / "r1"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(b"no DICOM object")
    list_objects(folder)
    journal = Journal.open(state / "journal.sqlite", clock)
    journal.instances.add(NewInstance("1.2.3.1", "1.2", *KEY, "d", "", state / "a", 1))
    for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
        journal.series.advance(KEY, event)
    journal.series.claim("t")
    journal.results.publish(KEY, "t", ResultRow("r1", folder, "m"), ["web"])
    return journal


@pytest.mark.parametrize(
    "secret",
    [f"Bearer {TOKEN}\n", f"Bearer {TOKEN}\nX-Other: 1\n", f"Bearer {TOKEN}é", f"Bearer\0{TOKEN}"],
)
@pytest.mark.parametrize("code", [0, 200, 302, 401, 500])
def test_no_secret_reaches_journal_log_or_output(
    tmp_path: Path,
    clock: Any,
    server: Callable[[int], int],
    capsys: pytest.CaptureFixture[str],
    secret: str,
    code: int,
) -> None:
    port = server(code) if code else 9
    (tmp_path / "secret").write_text(secret)
    (tmp_path / "config.toml").write_text(
        '[node]\nae_title = "NODE"\n[[node.destination]]\nname = "web"\nkind = "dicomweb"\n'
        f'url = "http://user:{PASSWORD}@127.0.0.1:{port}/dicom-web"\nauthorization_file = "secret"\n'
    )
    file = tmp_path / "config.toml"
    journal, log = _published(tmp_path / "state", clock), StringIO()
    (step,) = steps(read_config(file), journal, clock, lambda: 0.0, EventLog("node", log).event)
    for _ in range(3):
        step.run_once()
        clock.pass_s(60)
    row = journal.deliveries.of_series(KEY)[0]
    journal.close()
    codes = [
        run([*command, "--config", str(file), *as_json])
        for command in (["check-config"], ["echo"], ["status"], ["why", KEY.series], ["doctor"])
        for as_json in ([], ["--json"])
    ]
    reached = 0 if code == 200 and secret == f"Bearer {TOKEN}\n" else 5
    assert codes == [*[reached] * 4, 0, 0, 0, 0, 1, 1]
    shown_text = "".join(capsys.readouterr()) + log.getvalue()
    shown_text += "".join(str(p.read_bytes()) for p in (tmp_path / "state").glob("journal.sqlite*"))
    assert row.detail or row.fault
    assert "http://***@127.0.0.1" in shown_text
    assert TOKEN not in shown_text
    assert "hunter2" not in shown_text


def test_url_with_a_query_is_refused_without_quoting_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(
        '[node]\nae_title = "NODE"\n[[node.destination]]\nname = "web"\nkind = "dicomweb"\n'
        f'url = "http://127.0.0.1/dicom-web?token={TOKEN}"\n'
    )
    assert run(["check-config", "--config", str(tmp_path / "config.toml")]) == 2
    shown_text = "".join(capsys.readouterr())
    assert "config.toml:6" in shown_text
    assert "authorization_file" in shown_text
    assert TOKEN not in shown_text
