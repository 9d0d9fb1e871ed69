"""A cluster on loopback: scheduler and workers as processes, TLS with an authority of their own; many small studies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from node.demo import servers
from node.free_ports import free_ports
from node.work.trial import write_trial
from tests.support.certificates import Authority
from tests.support.paths import ROOT

PLAIN = "[results]\npictures = false\n"


def studies(files: list[Path], count: int, folder: Path) -> list[list[Path]]:
    """Write a series so many times as studies of their own, the image shifted by one column each time."""
    made: list[list[Path]] = []
    for number in range(count):
        here = folder / f"study{number}"
        here.mkdir(parents=True)
        study, series, frame = (generate_uid(entropy_srcs=[f"{n}{number}"]) for n in "abc")
        paths = []
        for path in files:
            ds = pydicom.dcmread(path)
            ds.PixelData = np.roll(ds.pixel_array, number, axis=1).tobytes()
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
            ds.FrameOfReferenceUID = frame
            ds.SOPInstanceUID = generate_uid(entropy_srcs=[series, path.name])
            ds.SequenceName, ds.BodyPartExamined, ds.SeriesDescription = "*spcR", "LSPINE", "t2_spc"
            ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 2800.0, 189.0, 60
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(here / path.name)
            paths.append(here / path.name)
        made.append(paths)
    return made


def trial_study(folder: Path) -> list[Path]:
    """Write the small series that a worker tries itself out with: label-coded, a moment's work."""
    folder.mkdir()
    write_trial(folder)
    return sorted(folder.glob("*.dcm"))


@dataclass
class Cluster:
    """A scheduler and its workers."""

    folder: Path
    bundle: Path
    authority: Authority
    silent_s: float = 3.0
    port: int = 0
    running: list[servers.Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.slow(0.0)

    @property
    def _slow(self) -> Path:
        return self.folder / "slow"

    def slow(self, seconds: float) -> None:
        """Let each segmentation take so many seconds more, from the next one on."""
        self._slow.write_text(str(seconds))

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def section(self, name: str, **keys: object) -> str:
        """The section of a machine with a certificate of its own."""
        pair = self.authority.issue(name)
        lines = {
            "scheduler": f'"{self.address}"', "certificate": f'"{pair.certificate}"',
            "private_key": f'"{pair.key}"', "trusted": f'"{self.authority.certificate}"',
            "silent_seconds": self.silent_s, "deadline_seconds": 20.0, **keys,
        }  # fmt: skip
        return "[cluster]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items())

    def config(self, name: str, **keys: object) -> Path:
        """The file of a machine that only computes."""
        path = self.folder / f"{name}.toml"
        if path.exists() and not keys:
            return path
        path.write_text(
            f'[node]\nae_title = "{name.upper()}"\n[model]\nbundle = "{self.bundle}"\nthreads = 1\n'
            + self.section(name, **keys)
        )
        return path

    def start_scheduler(self) -> servers.Running:
        """Start the scheduler; returns when it listens."""
        program = [servers.command("lumbar-node"), "scheduler"]
        return self._start("scheduler", program, "\nscheduler at tls")

    def start_worker(self, name: str, *arguments: str, path: Path | None = None) -> servers.Running:
        """Start a worker; returns when the scheduler knows it. path: where its modules are looked for first."""
        program = [sys.executable, "-m", "tests.support.slow_worker", str(self._slow), *arguments]
        return self._start(name, program, "\nworker at tls", path)

    def worker(self) -> servers.Running:
        """Return the one worker that runs."""
        return self.workers("one")[0]

    def workers(self, *names: str) -> list[servers.Running]:
        """Return the workers of these names, started where they do not run; others are ended."""
        alive = {r.name: r for r in self.running if r.alive and r.name != "scheduler"}
        for name in {*alive} - {*names}:
            servers.stop(alive[name], 10.0)
        return [alive[n] if n in alive else self.start_worker(n) for n in names]

    def _start(
        self, name: str, program: list[str], sign: str, path: Path | None = None
    ) -> servers.Running:
        log = self.folder / f"{name}.log"
        before = log.read_text().count(sign) if log.exists() else 0
        folders = os.pathsep.join(map(str, (*([path] if path else []), ROOT)))
        environment = {**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}
        running = servers.start(
            name, [*program, "--config", str(self.config(name))], log,
            lambda: log.read_text().count(sign) > before, env=environment,
        )  # fmt: skip
        self.running.append(running)
        return running

    def stop(self) -> None:
        """End everything that still runs."""
        for running in self.running:
            if running.alive:
                os.kill(running.process.pid, signal.SIGCONT)
        for running in reversed(self.running):
            servers.stop(running, 10.0)


def begun(worker: servers.Running) -> int:
    """How many segmentations a worker has begun."""
    return worker.log.read_text(errors="replace").count("begun\n")


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait for something."""
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def cluster(folder: Path, bundle: Path) -> Iterator[Cluster]:
    """Make a cluster without a process; all that it starts is stopped at the end."""
    made = Cluster(folder, bundle, Authority.make(folder / "authority"))
    try:
        yield made
    finally:
        made.stop()


def processed(config: Path, folder: Path, out: Path) -> dict[str, Path]:
    """Process every study of a folder here, without a cluster; returns the result folders by name."""
    subprocess.run(
        [servers.command("lumbar-node"), "process", str(folder), "--out", str(out), "--config", str(config)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return {p.parent.name: p.parent for p in out.rglob("result.json")}
