"""`lumbar-node demo` as a person runs it: with real servers kept up, and with a plain folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import httpx
import numpy as np
import pydicom
import pytest

from dicomseg.volume import Volume
from node.demo import servers
from node.demo.pacs import Pacs
from node.journal.journal import Journal
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

STAYS = "The servers keep running"


@dataclass
class Demo:
    """A demonstration that has come to its end and waits for Ctrl-C."""

    process: subprocess.Popen[str]
    out: Path
    output: str

    @property
    def pacs(self) -> Pacs:
        return Pacs(f"http://127.0.0.1:{_settings(self.out)['HttpPort']}")

    @property
    def journal(self) -> Journal:
        return Journal.open(self.out / "run/state/journal.sqlite", time.time)

    @property
    def result(self) -> dict[str, Any]:
        (file,) = (self.out / "run/state/results").glob("*/result.json")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies are painted once; every demonstration starts its own servers."""
    return tmp_path_factory.mktemp("demo")


def _command(out: Path, *options: str) -> list[str]:
    return [servers.command("lumbar-node"), "demo", "--out", str(out), *options]


@pytest.fixture(scope="module")
def demo(out: Path) -> Iterator[Demo]:
    """One patient with a result, one without a T2 SPACE series, one with a slice lost; servers up."""
    if servers.find_orthanc() is None:
        pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
    log = out / "output.txt"
    with log.open("w", encoding="utf-8") as target:
        process = subprocess.Popen(
            # A shell that runs these tests in the background would have Ctrl-C ignored here too.
            ["env", "--default-signal=INT", *_command(out, "--keep", "--patients", "1")],
            stdout=target,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
    deadline = time.monotonic() + 800
    try:
        while STAYS not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.5)
        yield Demo(process, out, log.read_text(encoding="utf-8"))
        _ctrl_c_ends_everything(process, out)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def _settings(out: Path) -> dict[str, Any]:
    text = (out / "run/orthanc/orthanc.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _ctrl_c_ends_everything(process: subprocess.Popen[str], out: Path) -> None:
    settings = _settings(out)
    ports = [settings["DicomPort"], settings["DicomModalities"]["node"]["Port"]]
    assert all(servers.listens(port) for port in ports)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    assert not any(servers.listens(port) for port in ports)


def _objects(demo: Demo) -> dict[str, bytes]:
    return {o["file"]: demo.pacs.bytes_of(o["sop_instance"]) for o in demo.result["objects"]}


def test_it_says_what_a_person_wants_to_know(demo: Demo) -> None:
    assert "measured ± uncertainty" in demo.output
    assert "slice 31 at" in demo.output
    assert "derived, not acquired" in demo.output
    assert re.search(
        r"patient +routing +complete +select +queue +process +deliver +total", demo.output
    )
    assert "reachable from other machines" in demo.output
    assert "Orthanc holds all 7 objects" in demo.output
    # Sentences after a time, of two or more digits, and addresses below them may be longer.
    tables = [x for x in demo.output.splitlines() if not re.match(r"  | \d+\.\d s ", x)]
    assert [line for line in tables if len(line) > 80] == []


def test_what_the_pacs_holds_is_valid_by_three_independent_tools(
    demo: Demo, tmp_path: Path
) -> None:
    for name, content in _objects(demo).items():
        (tmp_path / name).write_bytes(content)
        checked = subprocess.run(
            ["dciodvfy", str(tmp_path / name)], capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        said = (checked.stdout + checked.stderr).splitlines()
        assert [line for line in said if line.startswith("Error")] == [], name
    for name in ("measurements.dcm", "volumes.dcm"):
        dumped = subprocess.run(
            ["dsrdump", str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip
        assert (dumped.returncode, dumped.stderr) == (0, ""), name
        assert "Imaging Measurement" in dumped.stdout
    _same_segments_by_dcmqi(tmp_path / "seg.dcm", tmp_path)


def _same_segments_by_dcmqi(seg: Path, out: Path) -> None:
    """dcmqi and highdicom read the same voxels of every segment at the same patient points."""
    subprocess.run(
        [
            servers.command("segimage2itkimage"),
            *("--inputDICOM", str(seg), "--outputDirectory", str(out)),
            *("--outputType", "nrrd", "--mergeSegments"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    sitk = pytest.importorskip("SimpleITK")
    (file,) = out.glob("*.nrrd")
    image = sitk.ReadImage(str(file))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    theirs = Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine)
    read = hd.seg.segread(seg).get_volume(combine_segments=True, allow_missing_positions=True)
    ours = Volume(np.asarray(read.array, dtype=np.uint8), np.asarray(read.affine))
    assert len(np.unique(ours.array)) > 3
    for number in np.unique(ours.array)[1:]:
        points = [np.argwhere(v.array == number) for v in (theirs, ours)]
        assert len(points[0]) == len(points[1])
        at_theirs, at_ours = (v.to_patient(p) for v, p in zip((theirs, ours), points, strict=True))
        order = [np.lexsort(np.round(a, 2).T) for a in (at_theirs, at_ours)]
        assert np.abs(at_theirs[order[0]] - at_ours[order[1]]).max() < 0.01


def test_the_results_belong_to_the_patient_and_the_study(demo: Demo) -> None:
    (folder,) = (p.parent for p in (demo.out / "studies").glob("phantom-000011/t2_space"))
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    sent = pydicom.dcmread(next((folder / "t2_space").glob("*.dcm")), stop_before_pixels=True)
    assert demo.result["source"]["series"] == truth["series_uid"]  # not its uncorrected twin
    for name, content in _objects(demo).items():
        ds = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        assert (ds.PatientID, ds.PatientName) == (sent.PatientID, sent.PatientName), name
        assert ds.StudyInstanceUID == truth["study_uid"], name


def test_the_pacs_never_sends_results_back_to_the_node(demo: Demo) -> None:
    results = {o["sop_instance"] for o in demo.result["objects"]}
    journal = demo.journal
    received = {
        i.sop_instance_uid
        for row in journal.series.in_states()
        for i in journal.instances.of_series(row.key)
    }
    assert received
    assert not received & results
    jobs = demo.pacs.sent()
    assert {job["State"] for job in jobs} == {"Success"}
    assert len(jobs) == len(journal.series.in_states())  # one for each MR series, none for a result


def test_strangers_are_refused_by_the_pacs(demo: Demo) -> None:
    port = str(_settings(demo.out)["DicomPort"])
    for title, expected in (("SCANNER", 0), ("STRANGER", 1)):
        done = subprocess.run(
            ["echoscu", "-aet", title, "-aec", "ORTHANC", "127.0.0.1", port],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == expected, title


def test_the_printed_link_leads_to_the_results(demo: Demo) -> None:
    links = re.findall(r"http://\S+/viewer\S+", demo.output)
    if not links:
        assert "OHIF is not in" in demo.output
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif)")
    assert httpx.get(links[0]).status_code == 200
    uid = demo.result["source"]["study"]
    assert uid in links[0]
    listed = subprocess.run(
        [servers.command("lumbar-node"), "list", "--json", "--config", str(demo.out / "run/config.toml")],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    (link,) = {row["link"] for row in json.loads(listed.stdout)} - {None}
    assert httpx.get(link).status_code == 200
    viewer, result = links[0].split("?")[0], demo.result["objects"][0]["sop_instance"]
    assert link == f"{viewer}?StudyInstanceUIDs={uid}&result={result}"
    series = httpx.get(f"{links[0].split('/viewer')[0]}/dicom-web/studies/{uid}/series").json()
    assert sorted(s["00080060"]["Value"][0] for s in series)[-3:] == ["SEG", "SR", "SR"]


def test_without_pacs_and_dcmtk_a_folder_takes_the_results(
    out: Path, demo: Demo, oracle_bundle: Path
) -> None:
    """No series of these patients is segmented, so that a worker has no networks to load and to try."""
    here = out / "alone"
    here.mkdir()
    (here / "studies").symlink_to(out / "studies")
    done = subprocess.run(
        _command(here, "--no-servers", "--patients", "0"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PATH": "/nonexistent",
            "LUMBAR_NODE__MODEL__BUNDLE": str(oracle_bundle),
        },
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "slice 31 at" in done.stdout
    assert "scanner sends phantom-000015 to LUMBARNODE" in done.stdout
    assert "routing" not in done.stdout
