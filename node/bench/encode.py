"""`bench encode`: CPU seconds of every object of a result and of its pictures, on a phantom made on the spot."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomseg.draw.drawing import Scene, draw_pictures, draw_surfaces
from dicomseg.encode.context import EncodeInput, own_text, to_bytes
from dicomseg.encode.gather import build_result
from dicomseg.encode.pictures import encode_drawing, reading
from dicomseg.encode.rehearsal import TrialInput, rehearse
from dicomseg.encode.result_folder import ENCODERS
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.measure.measure import measure
from dicomseg.read.header import read_instance
from dicomseg.read.pixels import read_source
from dicomseg.read.series import Grid, assemble
from dicomseg.segmentation import NotInView
from model.segment import segment
from node.config.sections import NodeConfig, ResultsConfig
from node.errors import BenchFailed
from node.work.pipeline import build_settings, compute_key
from node.work.trial import trial_model

MEASURED: Final = "SEG + SRs + mid-plane"
PICTURES: Final = "page, PDF, surfaces"
REHEARSAL: Final = "headers, before the network"
TARGETS_S: Final = {MEASURED: 0.5, PICTURES: 3.0, REHEARSAL: 0.1}
"""CPU seconds of the three sums on one idle core."""
SEED: Final = 77
_PAINT_TIMEOUT_S: Final = 600.0
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PartTime:
    """Times of one part in seconds: the first run, and one of each later run. cpu_s: of all threads."""

    part: str
    first_s: float
    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median CPU seconds of the runs after the first."""
        return statistics.median(self.cpu_s)

    @property
    def median_wall_s(self) -> float:
        """Median wall seconds of the runs after the first."""
        return statistics.median(self.wall_s)

    @property
    def target_s(self) -> float | None:
        """CPU seconds that the part may take; None for a part of a sum."""
        return TARGETS_S.get(self.part)

    def as_json(self) -> dict[str, Any]:
        """Return the times for programs."""
        return {
            "part": self.part,
            "first_cpu_s": self.first_s,
            "cpu_s": list(self.cpu_s),
            "wall_s": list(self.wall_s),
            "median_cpu_s": self.median_s,
            "target_s": self.target_s,
        }


def measure_encoding(runs: int, progress: Callable[[str], None]) -> list[PartTime]:
    """Make a phantom and time what becomes of it.

    progress: receives the name of each step.

    Raises:
        BenchFailed: the phantom could not be made.
    """
    with tempfile.TemporaryDirectory(prefix="lumbar-node-bench-") as name:
        progress("painting a phantom")
        grid = _phantom(Path(name))
        progress("segmenting and measuring it")
        trial, inputs = prepare(grid)
    laps = []
    for number in range(runs + 1):
        progress(f"run {number} of {runs}")
        laps.append(time_run(trial, inputs))
    return summary(laps)


def summary(laps: Sequence[dict[str, tuple[float, float]]]) -> list[PartTime]:
    """Return the times of every part; the first run is apart. laps: CPU and wall seconds by part, of each run."""
    first, *others = laps
    return [
        PartTime(part, first[part][0], *zip(*(lap[part] for lap in others), strict=True))
        for part in first
    ]


def _phantom(folder: Path) -> Grid:
    """Write a label-coded phantom of the full grid and read its headers."""
    command = [sys.executable, "-m", "training", "phantom", "--out", str(folder), "--coded"]
    done = subprocess.run(
        [*command, "--cases", "1", "--seed", str(SEED)],
        capture_output=True, text=True, timeout=_PAINT_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchFailed(f"no phantom: {lines[-1]}")
    grid = assemble([read_instance(path) for path in sorted(folder.rglob("*.dcm"))])
    if not isinstance(grid, Grid):
        raise BenchFailed(f"no phantom: {grid.text}")
    return grid


def prepare(grid: Grid) -> tuple[TrialInput, EncodeInput]:
    """Take a label-coded series to where it is encoded: for the rehearsal, and for the objects."""
    model, settings = trial_model(), build_settings(NodeConfig(ae_title="BENCH"), ResultsConfig())
    identity, source = settings.identity, read_source(grid)
    cleaned, key = (
        sanitised_headers(source, own_text(identity)),
        compute_key(grid, model.info, settings),
    )
    found = segment(source.volume, model)
    if isinstance(found, NotInView):
        raise BenchFailed(f"no phantom: {found.reason}")
    result = build_result(source, cleaned, found, measure(found), key, _NOW, {})
    trial = TrialInput(source, cleaned, key, model.info, identity, _NOW)
    return trial, EncodeInput(result, source, found, key, cleaned, identity, _NOW)


@dataclass(slots=True)
class _Laps:
    """CPU and wall seconds by part; parts of a sum come before it."""

    of: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        yield
        self.of[part] = (time.process_time() - cpu_s, time.perf_counter() - wall_s)

    def add_up(self, name: str, parts: Sequence[str]) -> None:
        cpu_s, wall_s = zip(*(self.of[part] for part in parts), strict=True)
        self.of[name] = (sum(cpu_s), sum(wall_s))


def time_run(trial: TrialInput, inputs: EncodeInput) -> dict[str, tuple[float, float]]:
    """Encode and draw everything once; returns CPU and wall seconds by part."""
    laps = _Laps()
    with laps.time(REHEARSAL):
        rehearse(trial)
    encoded: dict[str, Dataset] = {}
    for name, encode in ENCODERS.items():
        with laps.time(name):
            encoded[name] = encode(inputs, encoded)
            to_bytes(encoded[name])
    laps.add_up(MEASURED, list(ENCODERS))
    scene = Scene(inputs.source.volume, inputs.segmentation)
    with laps.time("surfaces"):
        meshes = draw_surfaces(scene)
    with laps.time("page, PDF, files"):
        drawing = draw_pictures(scene, reading(inputs, "en"), meshes)
    with laps.time("their objects"):
        for ds in encode_drawing(inputs, drawing).values():
            to_bytes(ds)
    laps.add_up(PICTURES, ["surfaces", "page, PDF, files", "their objects"])
    return laps.of
