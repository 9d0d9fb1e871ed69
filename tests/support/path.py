"""Real processes on loopback: Orthanc, the node, DCMTK; and known truth to compare their results with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume
from model.bundle.write import write_coded_bundle
from node.demo import servers
from node.demo.pacs import Pacs
from node.journal.journal import Journal
from node.journal.rows import SeriesRow
from node.journal.states import SeriesState

ENDED = {
    SeriesState.DELIVERED,
    SeriesState.SKIPPED,
    SeriesState.INCOMPLETE,
    SeriesState.FAILED,
    SeriesState.QUARANTINED,
    SeriesState.SUPERSEDED,
}
FILES = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


@dataclass
class Truth:
    """A coded phantom: its files and everything that is known of it."""

    folder: Path
    told: dict[str, Any]
    labels: Volume

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "t2_space").glob("*.dcm"))


@dataclass
class Found:
    """Results as they came back: data sets by file name, and their bytes."""

    files: dict[str, bytes]
    sets: dict[str, pydicom.Dataset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sets = {
            n: pydicom.dcmread(BytesIO(b)) for n, b in self.files.items() if n.endswith(".dcm")
        }


@pytest.fixture(scope="session")
def oracle_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded_bundle(tmp_path_factory.mktemp("bundle") / "oracle")


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """An oblique, intensity-coded phantom: asymmetric along all three axes, its truth in closed form."""
    out = tmp_path_factory.mktemp("coded")
    subprocess.run(
        [
            servers.command("lumbar-train"),
            "phantom",
            "--out",
            str(out),
            "--cases",
            "1",
            "--seed",
            "18",
            "--coded",
            "--oblique",
        ],
        check=True,
        capture_output=True,
        timeout=300,
    )
    folder = next(p for p in out.iterdir() if p.is_dir())
    with np.load(folder / "labels.npz") as arrays:
        labels = Volume(arrays["labels"], arrays["affine"])
    return Truth(folder, json.loads((folder / "truth.json").read_text(encoding="utf-8")), labels)


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
        told = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
        pacs = Pacs(self.ports.pacs_url)
        try:
            return Found({o["file"]: pacs.bytes_of(o["sop_instance"]) for o in told["objects"]})
        finally:
            pacs.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make sites; everything they started is stopped at the end."""
    made: list[Site] = []

    def make(
        *,
        bundle: Path | None = None,
        with_pacs: bool = False,
        extra: str = "",
        destination: str = "",
    ) -> Site:
        if shutil.which("storescu") is None:
            pytest.skip("needs DCMTK's storescu (apt install dcmtk)")
        if with_pacs and servers.find_orthanc() is None:
            pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        here = Site(
            folder, servers.Ports(*servers.free_ports(4)), bundle, with_pacs, extra, destination
        )
        made.append(here)
        here.write_config()
        here.start()
        if with_pacs:
            here.running.append(servers.start_orthanc(folder / "orthanc", here.ports))
        return here

    yield make
    for here in made:
        here.stop()


def read_labels(seg: pydicom.Dataset) -> Volume:
    """Segment numbers of a stored SEG on its full grid, by highdicom."""
    read = hd.seg.Segmentation.from_dataset(seg)
    volume = read.get_volume(
        combine_segments=True, skip_overlap_checks=True, allow_missing_positions=True
    )
    return Volume(
        np.asarray(volume.array, dtype=np.uint8),
        np.asarray(volume.affine),
        str(seg.FrameOfReferenceUID),
    )


def read_lines(sr: pydicom.Dataset, image: pydicom.Dataset) -> dict[str, tuple[float, np.ndarray]]:
    """Stored value and LPS end points (2, 3) of every drawn line, by name."""
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(image.PixelSpacing, float)
    out: dict[str, tuple[float, np.ndarray]] = {}

    def walk(item: pydicom.Dataset, name: str) -> None:
        for child in item.get("ContentSequence", []):
            concept = (
                child.ConceptNameCodeSequence[0].CodeMeaning
                if "ConceptNameCodeSequence" in child
                else ""
            )
            if concept == "Tracking Identifier":
                name = child.TextValue.rsplit(":", 1)[-1]
            if child.ValueType == "NUM":
                for scoord in child.get("ContentSequence", []):
                    if scoord.ValueType == "SCOORD":
                        points = np.array(scoord.GraphicData, float).reshape(2, 2) - 0.5
                        lps = (
                            np.array(image.ImagePositionPatient, float)
                            + points[:, :1] * spacing[1] * row
                            + points[:, 1:] * spacing[0] * column
                        )
                        out[name] = (float(child.MeasuredValueSequence[0].NumericValue), lps)
            walk(child, name)

    walk(sr, "")
    return out


def differences(truth: Truth, found: Found) -> list[str]:
    """Everything in which stored results and known truth differ; empty when they agree."""
    wrong: list[str] = []
    source = pydicom.dcmread(truth.files[0], stop_before_pixels=True)
    for name, ds in found.sets.items():
        keywords = ["PatientID", "PatientName", "StudyInstanceUID"]
        keywords += ["FrameOfReferenceUID"] if name in {"seg.dcm", "midplane.dcm"} else []
        wrong += [f"{name}: {k}" for k in keywords if ds.get(k) != source.get(k)]
    return wrong + _label_differences(truth, found) + _line_differences(truth, found)


def _label_differences(truth: Truth, found: Found) -> list[str]:
    stored = read_labels(found.sets["seg.dcm"])
    centre = np.array(truth.told["plane"]["point_lps"])
    wrong: list[str] = []
    value_of = np.zeros(len(SEGMENTS) + 1, np.uint8)
    value_of[1:] = [s.structure.value for s in SEGMENTS]
    # Every voxel of the truth within the paper's window about the disc, looked up at its patient point.
    index = np.argwhere(truth.labels.array >= 0)[::7]
    lps = truth.labels.to_patient(index)
    near = np.all(np.abs(lps - centre) < (62.0, 80.0, 18.0), axis=1)
    index, lps = index[near], lps[near]
    # Empty frames are not stored: what lies outside the stored grid is background.
    at = np.round(stored.to_index(lps)).astype(int)
    inside = np.all((at >= 0) & (at < stored.shape), axis=1)
    number = np.zeros(len(at), np.uint8)
    number[inside] = stored.array[tuple(at[inside].T)]
    share = float(np.mean(value_of[number] == truth.labels.array[tuple(index.T)]))
    if share < 0.9999:
        wrong.append(f"labels: {share:.4%} of the voxels agree")
    for segment in SEGMENTS:
        points = stored.to_patient(np.argwhere(stored.array == segment.number))
        if len(points) == 0:
            wrong.append(f"labels: {segment.label} is absent")
        elif segment.side and (points[:, 0].mean() > centre[0]) != (segment.side == "left"):
            wrong.append(f"labels: {segment.label} lies on the other side")
    return wrong


def _line_differences(truth: Truth, found: Found) -> list[str]:
    wrong: list[str] = []
    lines = read_lines(found.sets["measurements.dcm"], found.sets["midplane.dcm"])
    for name, told in truth.told["measurements"].items():
        if name not in {"OC", "DAA", "DIVC", "PI"}:
            continue
        if name not in lines:
            wrong.append(f"{name}: no line")
            continue
        value, points = lines[name]
        if abs(value - told["value_mm"]) > 0.1:
            wrong.append(f"{name}: {value:.3f} mm, true are {told['value_mm']:.3f}")
        if abs(np.linalg.norm(points[1] - points[0]) - value) > 0.05:
            wrong.append(f"{name}: the stored value is not the length of the line")
        true = np.array(told["points_lps"])
        off = min(np.abs(points - order).max() for order in (true, true[::-1]))
        if off > END_POINT_MM:
            wrong.append(f"{name}: end points are {off:.2f} mm off")
    return wrong


END_POINT_MM = 0.1
"""Per axis."""


@pytest.fixture(scope="session")
def found_type() -> type[Found]:
    return Found


@pytest.fixture(scope="session")
def compare() -> Callable[[Truth, Found], list[str]]:
    return differences


@pytest.fixture(scope="session")
def wrap(shared: Path) -> Callable[..., list[Path]]:
    """Write real pixels as a DICOM series with the tool beside the data."""

    def write(volume: str, out: Path, *options: str) -> list[Path]:
        subprocess.run(
            [
                sys.executable,
                str(shared / "tools" / "spider_to_dicom.py"),
                str(shared / "data" / volume),
                str(out),
                *options,
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return sorted(out.glob("*.dcm"))

    return write
