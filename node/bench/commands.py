"""`bench commands`: CPU seconds of the commands that people call often, on a synthetic state folder."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.errors import BenchFailed
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import SeriesEvent
from node.store.layout import StateDirectory

TARGET_S: Final = 0.3
"""CPU seconds, user and system, that each command may take on an idle machine."""
COMMANDS: Final = (("status",), ("list",), ("models", "list"), ("health",))
_OBJECTS: Final = 4
"""Objects of each series."""


@dataclass(frozen=True, slots=True)
class CommandTime:
    """Times of one command in seconds, one of each run. cpu_s: user and system."""

    command: str
    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the times for programs."""
        return {
            "command": self.command,
            "cpu_s": list(self.cpu_s),
            "wall_s": list(self.wall_s),
            "median_cpu_s": statistics.median(self.cpu_s),
            "target_s": TARGET_S,
        }


def measure_commands(series: int, runs: int, progress: Callable[[str], None]) -> list[CommandTime]:
    """Time every command on a state folder of so many series; a first run of each is not counted.

    Raises:
        BenchFailed: a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="lumbar-node-bench-") as name:
        folder = Path(name)
        make_state(folder, series)
        times = []
        for command in COMMANDS:
            progress(" ".join(command))
            _run(command, folder)
            measured = [_run(command, folder) for _ in range(runs)]
            cpu_s, wall_s = zip(*measured, strict=True)
            times.append(CommandTime(" ".join(command), cpu_s, wall_s))
    return times


def make_state(folder: Path, series: int) -> None:
    """Write `config.toml` and a state folder with so many series of several states."""
    (folder / "config.toml").write_text('[node]\nae_title = "BENCH"\n', encoding="utf-8")
    state = StateDirectory(folder / "state")
    journal = Journal.open(state.journal, time.time)
    state.spool.mkdir()
    for number in range(series):
        key = SeriesKey(f"1.2.{number}", f"1.3.{number}")
        for instance in range(_OBJECTS):
            uid = f"{key.series}.{instance}"
            path = state.spool / f"{uid}.dcm"
            _header(key, uid).save_as(path, enforce_file_format=True)
            size = path.stat().st_size
            journal.instances.add(
                NewInstance(
                    uid, MRImageStorage, *key, uid, ExplicitVRLittleEndian, path, size, "MR1"
                )
            )
        if number % 3 == 1:
            detail = {"reason": "received 4 of 64 slices"}
            journal.series.advance(key, SeriesEvent.WENT_QUIET, detail=detail)
        elif number % 3 == 2:
            journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
    journal.close()


def _header(key: SeriesKey, uid: str) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, uid
    header.StudyInstanceUID, header.SeriesInstanceUID = key
    header.SeriesDate, header.SeriesDescription, header.PatientID = "20260101", "t2_space", "BENCH"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def _run(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run one command in a new process; returns CPU and wall seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "node", *command], cwd=folder, capture_output=True, text=True, check=False
    )  # fmt: skip
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode and ended.stderr:  # `health` of a stopped node answers, with 1
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise BenchFailed(f"lumbar-node {' '.join(command)}: {lines[-1]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, wall_s
