"""Storage commitment against a real Orthanc, in both roles: it reports to the node, and asks the node."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from node.config.destinations import DicomDestination
from node.deliver.dicom import Pacs
from node.deliver.report import ReportStep
from node.deliver.step import DeliverStep
from node.demo import servers
from node.events import noop_log
from node.free_ports import free_ports
from node.journal.commitments import RequestState
from node.journal.states import DeliveryState
from node.receive.commitment import Archive
from node.receive.held import HeldStep
from node.store.layout import StateDirectory
from tests.support.deliveries import only_delivery, publish_result

pytestmark = [pytest.mark.servers, pytest.mark.slow]

FILES = ("seg.dcm", "volumes.dcm")


@dataclass(frozen=True)
class Site:
    """A node's acceptor, and an Orthanc that knows its address."""

    node: Any
    ports: servers.Ports
    root: Path

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        with httpx.Client(base_url=self.ports.pacs_url, timeout=20) as client:
            return client.request(method, path, json=body).json()


@pytest.fixture
def site(listen: Any, tmp_path: Path) -> Iterator[Site]:
    found = servers.find_orthanc()
    if found is None:
        pytest.skip("needs Orthanc and its DICOMweb plugin (apt install orthanc-dicomweb)")
    program, plugin = found
    node = listen(archives=[Archive("pacs", "ORTHANC", "127.0.0.1")])
    folder, ports = tmp_path / "orthanc", servers.Ports(*free_ports(4))
    (folder / "db").mkdir(parents=True)
    peer = {"AET": "NODE", "Host": "127.0.0.1", "Port": node.port}
    settings = servers.orthanc_settings(folder, ports, plugin) | {"DicomAet": "ORTHANC", "DicomModalities": {"node": peer}, "LuaScripts": []}  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    running = servers.start(
        "Orthanc", [program, str(folder / "orthanc.json")], folder / "orthanc.log",
        lambda: servers.answers(f"{ports.pacs_url}/system") and servers.listens(ports.pacs_dicom),
        env=servers.dcmtk_environment(),
    )  # fmt: skip
    try:
        yield Site(node, ports, tmp_path)
    finally:
        servers.stop(running)


class _Clock:
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def _until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.1)


def _step(site: Site, proof: str) -> DeliverStep:
    config = DicomDestination(
        name="pacs", kind="dicom", ae_title="ORTHANC", host="127.0.0.1",
        port=site.ports.pacs_dicom, objects=FILES, proof=proof, first_wait_seconds=1.0,
    )  # fmt: skip
    return DeliverStep(
        site.node.journal, config, Pacs.of(config, "NODE"), _Clock(), lambda: 0.0,
        StateDirectory(site.root), noop_log,
    )  # fmt: skip


def test_orthanc_reports_over_an_association_of_its_own_and_confirms(site: Site) -> None:
    publish_result(site.node.journal, site.root, files=FILES)
    step = _step(site, "commitment")

    def confirmed() -> bool:
        step.run_once()
        return only_delivery(site.node.journal).state is DeliveryState.CONFIRMED

    _until(confirmed)
    assert only_delivery(site.node.journal).proof == "committed"
    (reported,) = site.node.events("CommitmentReported")
    assert (reported["committed"], reported["failed"]) == (2, 0)


def test_orthanc_reports_what_was_deleted_and_it_is_sent_again(site: Site) -> None:
    publish_result(site.node.journal, site.root, files=FILES)
    step = _step(site, "commitment")
    send = step.destination.send
    deleted: list[str] = []

    class Loses(Pacs):
        def send(self, files: Any) -> Any:
            outcomes = send(files)
            if not deleted:
                found = site.rest("POST", "/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": files[1].sop_instance}})  # fmt: skip
                deleted.extend(found)
                site.rest("DELETE", f"/instances/{found[0]}")
            return outcomes

    config = step.config
    assert isinstance(config, DicomDestination)
    losing = DeliverStep(
        site.node.journal, config, Loses.of(config, "NODE"), _Clock(), lambda: 0.0,
        StateDirectory(site.root), noop_log,
    )  # fmt: skip
    seen: set[str] = set()

    def confirmed() -> bool:
        losing.run_once()
        row = only_delivery(site.node.journal)
        seen.add(row.detail)
        return row.state is DeliveryState.CONFIRMED

    _until(confirmed)
    assert "storage commitment: not kept: volumes.dcm" in seen
    assert len(site.rest("GET", "/instances")) == 2


@contextmanager
def _answering(site: Site) -> Iterator[None]:
    """Run the steps that answer requests, in a thread of their own."""
    ended = threading.Event()
    peer = Pacs("pacs", "ORTHANC", "127.0.0.1", site.ports.pacs_dicom, "NODE", 10.0)
    held = HeldStep(site.node.journal)
    reports = ReportStep(site.node.journal, {"ORTHANC": peer}, time.time, lambda: 0.0, noop_log)

    def run() -> None:
        while not ended.wait(0.1):
            held.run_once()
            reports.run_once()
        site.node.journal.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_orthanc_asks_the_node_and_is_answered(site: Site, write_series: Any) -> None:
    for path in write_series(site.root / "in", slices=3):
        with httpx.Client(base_url=site.ports.pacs_url) as client:
            client.post("/instances", content=path.read_bytes()).raise_for_status()
    ids = site.rest("GET", "/instances")
    sent = site.rest("POST", "/modalities/node/store", {"Resources": ids[:2], "Synchronous": True})
    assert sent["FailedInstancesCount"] == 0
    with _answering(site):
        asked = site.rest("POST", "/modalities/node/storage-commitment", {"Resources": ids})

        def state() -> Any:
            return site.rest("GET", asked["Path"])

        _until(lambda: state()["Status"] != "Pending")
    answer = state()
    assert answer["Status"] == "Failure"
    assert len(answer["Success"]) == 2
    (failed,) = answer["Failures"]
    assert failed["FailureReason"] == 0x0112
    assert len(site.node.journal.commitments.requests(RequestState.REPORTED)) == 1
