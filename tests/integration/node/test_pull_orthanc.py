"""Pulls from a real Orthanc, by the step and by the command: what is missing comes once, also after a kill."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from node.config.pull import DicomSource, DicomwebSource, PullRuleConfig, SourceConfig
from node.demo import servers
from node.free_ports import free_ports
from node.journal.journal import Journal
from node.journal.pulls import PullRow, PullState
from node.journal.states import InstanceState
from node.pull.factory import build_source
from node.pull.port import SourceFault
from node.store.layout import StateDirectory
from tests.support.clock import Clock
from tests.support.mr_series import WriteSeries
from tests.support.pulling import puller
from tests.support.senders import data_set_of, send_files
from tests.support.sites import Site
from tests.support.threaded_node import until

pytestmark = [pytest.mark.servers, pytest.mark.slow]

STUDY = "1.2.1"
KINDS = ("dicom-move", "dicom-get", "dicomweb")


@dataclass(frozen=True)
class Orthanc:
    ports: servers.Ports

    def put(self, *files: Path) -> None:
        with httpx.Client(base_url=self.ports.pacs_url, timeout=20) as client:
            for file in files:
                assert client.post("/instances", content=file.read_bytes()).status_code == 200

    def knows(self, port: int, title: str = "NODE") -> None:
        """Let it know the node as a move destination."""
        with httpx.Client(base_url=self.ports.pacs_url, timeout=20) as client:
            peer = {"AET": title, "Host": "127.0.0.1", "Port": port}
            assert client.put("/modalities/node", json=peer).status_code == 200

    def clear(self) -> None:
        with httpx.Client(base_url=self.ports.pacs_url, timeout=20) as client:
            for patient in client.get("/patients").json():
                client.delete(f"/patients/{patient}")

    def source(self, kind: str) -> SourceConfig:
        if kind == "dicomweb":
            return DicomwebSource(name="archive", kind="dicomweb", url=f"{self.ports.pacs_url}/dicom-web")  # fmt: skip
        return DicomSource(
            name="archive", kind=kind, ae_title="ORTHANC", host="127.0.0.1", port=self.ports.pacs_dicom
        )  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    found = servers.find_orthanc()
    if found is None:
        pytest.skip("needs Orthanc and its DICOMweb plugin (apt install orthanc-dicomweb)")
    program, plugin = found
    folder, ports = tmp_path_factory.mktemp("orthanc"), servers.Ports(*free_ports(4))
    (folder / "db").mkdir()
    settings = servers.orthanc_settings(folder, ports, plugin) | {
        "DicomAet": "ORTHANC", "DicomModalities": {}, "LuaScripts": [], "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True, "DicomAlwaysAllowFind": True,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = servers.start(
        "Orthanc", [program, str(folder / "orthanc.json")], folder / "orthanc.log",
        lambda: servers.answers(f"{ports.pacs_url}/system") and servers.listens(ports.pacs_dicom),
        env=servers.dcmtk_environment(),
    )  # fmt: skip
    try:
        yield Orthanc(ports)
    finally:
        servers.stop(process)


@pytest.fixture
def orthanc(running: Orthanc) -> Iterator[Orthanc]:
    yield running
    running.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_comes_with_the_bytes_of_the_source(
    kind: str, orthanc: Orthanc, listen: Any, tmp_path: Path, write_series: WriteSeries
) -> None:
    node = listen()
    orthanc.knows(node.port)
    files = write_series(tmp_path / "in", slices=6)
    knee = write_series(tmp_path / "in", series="1.2.4", slices=2, BodyPartExamined="KNEE", SeriesDescription="pd", ProtocolName="knee")  # fmt: skip
    ct = write_series(tmp_path / "in", series="1.2.5", slices=2, Modality="CT")
    orthanc.put(*files, *knee, *ct)
    assert send_files(node.port, files[0], files[1]) == [0, 0]
    pulling = puller(node, orthanc.source(kind))

    row = pulling.pull(STUDY)

    assert (row.state, row.reason) == (PullState.DONE, "")
    assert (row.found, row.here, row.pulled, row.series_left) == (6, 2, 4, 2)
    rows = {r.sop_instance_uid: r for r in node.journal.instances.iterate()}
    assert set(rows) == {f"1.2.3.{n}" for n in range(1, 7)}
    assert data_set_of(rows["1.2.3.5"].path) == data_set_of(files[4])
    (ended,) = node.events("PullEnded")
    assert (ended["state"], ended["pulled"]) == ("done", 4)
    assert pulling.pull(STUDY).state is PullState.NOTHING  # all of it is here
    assert pulling.pull("1.2.77").reason == "the source does not have this study"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_fetches_the_studies_of_yesterday(
    kind: str, orthanc: Orthanc, listen: Any, tmp_path: Path, write_series: WriteSeries
) -> None:
    node = listen()
    orthanc.knows(node.port)
    orthanc.put(*write_series(tmp_path / "a", slices=2, StudyDate="20240508"))
    old = {"StudyInstanceUID": "1.2.2", "StudyDate": "20240507"}
    orthanc.put(*write_series(tmp_path / "b", series="1.2.8", slices=2, **old))
    clock = Clock()
    clock.jump_s(datetime(2024, 5, 9, 2, 29).astimezone().timestamp() - clock.wall())
    rule = PullRuleConfig(name="nightly", source="archive", at="02:30", descriptions=("T2_SPC",))
    pulling = puller(node, orthanc.source(kind), rules=(rule,), clock=clock)

    pulling.step.run_once()  # a new rule: its first time is still to come
    assert not node.events("PullRuleRan")
    clock.pass_s(120.0)
    pulling.step.run_once()

    (ran,) = node.events("PullRuleRan")
    assert (ran["first"], ran["last"], ran["studies"]) == ("2024-05-08", "2024-05-08", 1)
    row = node.journal.pulls.find("archive", STUDY)
    assert row is not None
    assert (row.state, row.pulled, row.rule) == (PullState.DONE, 2, "nightly")
    assert node.journal.pulls.find("archive", "1.2.2") is None


@pytest.mark.parametrize("kind", KINDS)
def test_echo_says_what_it_accepts(kind: str, orthanc: Orthanc) -> None:
    assert "accepts C-FIND and C-" in _echo(orthanc.source(kind)) or kind == "dicomweb"


def test_a_pacs_that_does_not_know_the_node_says_what_to_do(
    orthanc: Orthanc, listen: Any, tmp_path: Path, write_series: WriteSeries
) -> None:
    node = listen()
    orthanc.knows(node.port)
    with httpx.Client(base_url=orthanc.ports.pacs_url) as client:
        client.delete("/modalities/node")
    orthanc.put(*write_series(tmp_path / "in", slices=2))
    row = puller(node, orthanc.source("dicom-move")).pull(STUDY)
    assert row.state is PullState.WAITING
    assert row.tries == 1
    assert (
        "NODE (0xC000); register the node's AE title with host and port on the PACS" in row.reason
    )


def _echo(config: SourceConfig) -> str:
    from node.config.sections import Config, NodeConfig

    try:
        return build_source(config, Config(node=NodeConfig(ae_title="NODE")), None).echo()
    except SourceFault as fault:
        return str(fault)


# ---- the command and a node as a process -------------------------------------------------------------


def _pulling_site(site: Callable[..., Site], orthanc: Orthanc, kind: str, bundle: Path) -> Site:
    """Start a node that pulls from the archive."""
    source = orthanc.source(kind)
    keys = source.model_dump(include={"name", "kind", "ae_title", "host", "port", "url"})
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    extra = f"[results]\npictures = false\n[[pull.source]]\n{lines}"
    here = site(bundle=bundle, extra=extra)
    orthanc.knows(here.ports.node, servers.NODE_AET)
    return here


def _command(here: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [servers.command("lumbar-node"), *words, "--config", str(here.config)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _digests(files: Sequence[Path]) -> list[str]:
    return sorted(hashlib.sha256(data_set_of(file)).hexdigest() for file in files)


def test_the_command_waits_for_a_running_node_and_says_what_came(
    orthanc: Orthanc, site: Callable[..., Site], oracle_bundle: Path, tmp_path: Path,
    write_series: WriteSeries,
) -> None:  # fmt: skip
    files = write_series(tmp_path / "in", slices=6)
    orthanc.put(*files)
    here = _pulling_site(site, orthanc, "dicom-get", oracle_bundle)
    first = _command(here, "pull", STUDY)
    assert (first.returncode, first.stderr) == (0, ""), first.stderr
    assert first.stdout == "pull from archive done; 6 of 6 objects fetched, 0 were here\n"
    again = _command(here, "pull", STUDY, "--json")
    assert again.returncode == 3
    (row,) = json.loads(again.stdout)
    assert (row["state"], row["found"], row["here_before"], row["pulled"]) == ("nothing", 6, 6, 0)
    unknown = _command(here, "pull", "1.2.77")
    assert unknown.returncode == 3
    assert "the source does not have this study" in unknown.stdout
    kept = [i.path for i in here.journal.instances.iterate()]
    assert _digests(kept) == _digests(files)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["dicom-move", "dicomweb"])
def test_a_pull_whose_node_is_killed_is_completed_by_the_next_start(
    kind: str, orthanc: Orthanc, site: Callable[..., Site], oracle_bundle: Path, tmp_path: Path,
    write_series: WriteSeries,
) -> None:  # fmt: skip
    """Queued without waiting; killed while objects come; nothing is lost or doubled."""
    files = [
        f for n in (3, 6) for f in write_series(tmp_path / "in", series=f"1.2.{n}", slices=220)
    ]
    orthanc.put(*files)
    here = _pulling_site(site, orthanc, kind, oracle_bundle)
    journal = here.journal
    queued = _command(here, "pull", STUDY, "--no-wait")
    assert (queued.returncode, queued.stderr) == (0, ""), queued.stderr
    assert "pull from archive waiting" in queued.stdout
    until(lambda: journal.series.in_states() != [])
    (node,) = here.running
    node.process.kill()
    node.process.wait(30)
    here.running.clear()
    before = {i.sop_instance_uid for i in journal.instances.iterate()}
    assert 0 < len(before) < len(files)
    assert _command(here, "pull", STUDY).returncode == 2  # no node runs, and it says so

    here.start()
    until(lambda: _pulled(journal).state is PullState.DONE, 120.0)
    row = _pulled(journal)
    assert (row.found, row.here + row.pulled, row.missing) == (440, 440, 0)
    kept = list(journal.instances.iterate())
    assert len({i.sop_instance_uid for i in kept}) == len(kept) == len(files)
    assert {i.state for i in kept} == {InstanceState.STORED}
    assert _digests([i.path for i in kept]) == _digests(files)
    spool = StateDirectory(here.folder / "state").spool
    assert sorted(spool.rglob("*.dcm")) == sorted(i.path for i in kept)
    assert list(spool.rglob("*.part")) == []


def _pulled(journal: Journal) -> PullRow:
    row = journal.pulls.find("archive", STUDY)
    assert row is not None
    return row
