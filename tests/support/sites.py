"""A node as a real process on loopback and, where asked for, its PACS: Orthanc."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model.bundle.write import write_coded_bundle
from node.demo import servers
from node.demo.pacs import Pacs
from node.free_ports import free_ports
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.journal.states import SeriesState
from tests.support.truth import Found

ENDED = {
    SeriesState.DELIVERED,
    SeriesState.SKIPPED,
    SeriesState.INCOMPLETE,
    SeriesState.FAILED,
    SeriesState.QUARANTINED,
    SeriesState.SUPERSEDED,
}
FILES = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


@pytest.fixture(scope="session")
def oracle_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded_bundle(tmp_path_factory.mktemp("bundle") / "oracle")


@dataclass
class Site:
    """A node and, when asked for, its PACS."""

    folder: Path
    ports: servers.Ports
    bundle: Path | None
    with_pacs: bool
    extra: str = ""
    destination: str = ""
    running: list[servers.Running] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def journal(self) -> Journal:
        return Journal.open(self.folder / "state" / "journal.sqlite", time.time)

    def write_config(self) -> None:
        destination = (
            f'name = "pacs"\nkind = "dicom"\nae_title = "{servers.PACS_AET}"\nhost = "127.0.0.1"\nport = {self.ports.pacs_dicom}'
            if self.with_pacs
            else f'name = "folder"\nkind = "folder"\npath = "{self.folder / "delivered"}"'
        )
        bundle = f'[model]\nbundle = "{self.bundle}"\n' if self.bundle else ""
        self.config.write_text(
            f'[node]\nae_title = "{servers.NODE_AET}"\nport = {self.ports.node}\nstate = "{self.folder / "state"}"\n'
            f"[receive]\ndisk_low_mb = 50\ndisk_high_mb = 60\n[track]\nquiet_seconds = 5\nsettle_seconds = 2\n{bundle}{self.extra}"
            f"[[node.destination]]\n{destination}\n{self.destination}",
            encoding="utf-8",
        )

    def start(self) -> servers.Running:
        """Start the node; its PACS is up before."""
        running = servers.start_node(self.config, self.folder / "node.log", self.ports.node)
        self.running.append(running)
        return running

    def stop(self) -> None:
        for running in reversed(self.running):
            servers.stop(running)
        self.running.clear()

    def send(
        self, files: Sequence[Path], *, to_pacs: bool | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Send as a scanner does, with DCMTK's storescu."""
        pacs = self.with_pacs if to_pacs is None else to_pacs
        called, port = (
            (servers.PACS_AET, self.ports.pacs_dicom)
            if pacs
            else (servers.NODE_AET, self.ports.node)
        )
        return subprocess.run(
            [
                "storescu",
                "-R",
                "-aet",
                servers.SCANNER_AET,
                "-aec",
                called,
                "127.0.0.1",
                str(port),
                *map(str, files),
            ],
            env=servers.dcmtk_environment(),
            check=check,
            capture_output=True,
            timeout=120,
        )

    def wait(self, count: int, seconds: float = 240.0) -> list[SeriesRow]:
        """Wait until so many series have ended; returns all."""
        deadline = time.monotonic() + seconds
        journal = self.journal
        while time.monotonic() < deadline:
            rows = journal.series.in_states()
            if len(rows) >= count and all(r.state in ENDED for r in rows):
                return rows
            time.sleep(0.2)
        log = servers.tail(self.folder / "node.log", 20)
        raise AssertionError(
            f"not ended after {seconds:.0f} s: {[(r.state, r.reason) for r in journal.series.in_states()]}\n{log}"
        )

    def found(self, row: SeriesRow) -> Found:
        """The newest result of a series, fetched back from the PACS, else from the delivered folder."""
        result = self.journal.results.of_series(row.key)[-1]
        if not self.with_pacs:
            folder = self.folder / "delivered" / result.result_id
            return Found({n: (folder / n).read_bytes() for n in FILES})
        listed = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
        pacs = Pacs(self.ports.pacs_url)
        try:
            return Found({o["file"]: pacs.bytes_of(o["sop_instance"]) for o in listed["objects"]})
        finally:
            pacs.close()


@contextmanager
def _sites(root: Path) -> Iterator[Callable[..., Site]]:
    """Make sites below a folder; everything they started is stopped at the end."""
    started: list[Site] = []

    def make(
        *,
        bundle: Path | None = None,
        with_pacs: bool = False,
        extra: str = "",
        destination: str = "",
        state: Path | None = None,
    ) -> Site:
        """Start a node, on a copy of a state folder where one is given, and its PACS."""
        if shutil.which("storescu") is None:
            pytest.skip("needs DCMTK's storescu (apt install dcmtk)")
        if with_pacs and servers.find_orthanc() is None:
            pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
        folder = root / f"site{len(started)}"
        folder.mkdir()
        ports = servers.Ports(*free_ports(4))
        here = Site(folder, ports, bundle, with_pacs, extra, destination)
        started.append(here)
        if state is not None:
            shutil.copytree(state, folder / "state")
        here.write_config()
        here.start()
        if with_pacs:
            here.running.append(servers.start_orthanc(folder / "orthanc", here.ports))
        return here

    try:
        yield make
    finally:
        for here in started:
            here.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make sites for one test."""
    with _sites(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Make sites that the tests of one module share."""
    with _sites(tmp_path_factory.mktemp("sites")) as make:
        yield make
