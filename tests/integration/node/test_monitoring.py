"""A running node as monitoring sees it: metrics, health, messages, and nothing of a patient in any of them."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from node.cli.app import run
from node.config.file import read_config
from node.event_log import EventLog
from node.free_ports import free_ports
from node.metrics.catalogue import METRICS
from node.notices import changes, step
from node.service import service as supervise
from node.service.service import Node
from node.store.layout import StateDirectory
from tests.support.exposition import Family, parse
from tests.support.raw_peer import RawPeer

CONFIG = """
[node]
ae_title = "NODE"
port = {port}
state = "state"
[receive]
disk_low_mb = 1
disk_high_mb = 2
[track]
settle_seconds = 0.3
quiet_seconds = 0.6
[metrics]
port = {metrics}
[notify]
webhook = "{webhook}"
[[node.destination]]
name = "out"
kind = "folder"
path = "out"
"""
UID = re.compile(r"\b\d+(?:\.\d+){5,}")


@dataclass
class FakeWorkers:
    """One worker that does nothing and is ready or not."""

    ready: bool = True
    name: str = "w1"
    ending: str = ""
    slots: int | None = None

    @property
    def processes(self) -> list[FakeWorkers]:
        return [self]

    def poll(self) -> None:
        return None

    def resident_mb(self) -> float:
        return 12.0

    def run_once(self) -> int:
        return 0

    def stop(self, timeout_s: float) -> None:
        pass


@dataclass
class Site:
    """A node in a thread, its workers, and what its webhook got."""

    config: Path
    port: int
    metrics: int
    workers: FakeWorkers
    posts: list[dict[str, Any]] = field(default_factory=list)
    log: StringIO = field(default_factory=StringIO)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.metrics}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self) -> dict[str, Family]:
        time.sleep(1.1)  # a text is kept for a second
        return {
            n.removeprefix("lumbar_node_"): f for n, f in parse(self.get("/metrics")[1]).items()
        }

    def health(self) -> int:
        return run(["health", "--config", str(self.config)])


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(step, "LOOK_S", 0.2)
    monkeypatch.setattr(step, "BETWEEN_S", 0.0)
    monkeypatch.setattr(changes, "NEW_AFTER_S", 0.5)
    monkeypatch.setattr(changes, "OVER_AFTER_S", 0.5)
    monkeypatch.setattr("node.service.monitoring.REPORT_S", 0.2)
    posts: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    workers = FakeWorkers()
    monkeypatch.setattr(supervise.WorkStep, "of", lambda *_: workers)
    made = Site(tmp_path / "config.toml", *free_ports(2), workers, posts)
    address = f"http://127.0.0.1:{hook.server_port}/hook"
    made.config.write_text(CONFIG.format(port=made.port, metrics=made.metrics, webhook=address))
    node = Node(read_config(made.config), made.config, EventLog("t", made.log))
    stopping = threading.Event()
    thread = threading.Thread(target=node.serve, args=(stopping,))
    thread.start()
    until(lambda: "MetricsStarted" in made.log.getvalue())
    yield made
    stopping.set()
    thread.join(20)
    hook.shutdown()
    hook.server_close()
    assert not thread.is_alive()


def _send(port: int, paths: list[Path]) -> None:
    ae = AE(ae_title='SC"A} 1')
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="NODE")
    assert association.is_established
    assert [association.send_c_store(p).Status for p in paths] == [0] * len(paths)
    association.release()


def test_series_is_counted_and_nothing_of_its_patient_leaves(
    site: Site, tmp_path: Path, write_series: Any
) -> None:
    files = write_series(tmp_path / "in")
    with RawPeer(site.port) as peer:
        peer.link.sendall(RawPeer.request(calling=b'X"} 1\\n'.ljust(16), called=b"OTHER".ljust(16)))
        peer.link.recv(100)
    _send(site.port, files)
    until(lambda: "SeriesTracked" in site.log.getvalue())
    found = site.scrape()
    senders = {dict(labels)["sender"] for _, labels in found["objects_received_total"].samples}
    assert len(senders) == 1
    assert sum(found["objects_received_total"].samples.values()) == len(files)
    assert found["associations_total"].value(outcome="rejected") == 1
    assert found["associations_total"].value(outcome="released") == 1
    assert found["series_events_total"].value(event="geometry_complete") == 1
    assert found["stage_seconds"].value("_count", stage="complete") == 1
    assert set(found) <= {m.name.removeprefix("lumbar_node_") for m in METRICS}
    state = StateDirectory(site.config.parent / "state")
    texts = [site.get(p)[1] for p in ("/metrics", "/health", "/ready")]
    texts += [state.notices.read_text(), state.lock.read_text(), json.dumps(site.posts)]
    assert not [t for t in texts if "Test^Node" in t or UID.search(t)]


def test_health_of_a_node_whose_worker_goes_and_comes_back(site: Site) -> None:
    until(lambda: site.health() == 0)
    assert site.get("/ready")[0] == 200
    site.workers.ready = False
    until(lambda: site.health() == 1)
    assert site.get("/health")[0] == 200, "a restart is no remedy"
    status, text = site.get("/ready")
    assert status == 503
    assert json.loads(text)["problems"] == [
        "0 of 1 workers ready; wait, or see WorkerEnded in the log"
    ]
    until(lambda: len(site.posts) == 1)
    assert site.posts[0]["subject"] == "[lumbar-node] node"
    site.workers.ready = True
    until(lambda: len(site.posts) == 2)
    assert site.posts[1]["subject"] == "[lumbar-node] over: node"
    assert site.health() == 0
