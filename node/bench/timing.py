"""The times of one engine, and the process that takes them: `python -m node.bench.timing`."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from dicomseg.errors import LumbarError
from dicomseg.volume import Array
from model.bundle.load import load_bundle
from model.bundle.load_torch import load_network
from model.grid import SPACING_MM
from model.networks.coordinates import coordinate_channels
from model.patch import Patch

EAGER: Final = "eager"


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Times of one engine, taken by its own process.

    load_s: bundle to engine, with conversion. compile_s: preparation for this shape. first_s: first run,
    not among runs_s. cpu_s: CPU seconds of each run, over all threads. peak_mb: resident memory.
    load_average: of the machine, one minute, before the first run.
    """

    engine: str
    precision: str
    threads: int
    load_s: float
    compile_s: float
    first_s: float
    runs_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    peak_mb: int
    load_average: float
    note: str = ""

    @property
    def median_s(self) -> float:
        """Median of the runs after the first."""
        return statistics.median(self.runs_s)


class _Eager:
    """The network as it was trained and saved, behind the port of an engine."""

    name = EAGER
    precision = "float32"

    def __init__(self, path: Path, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._network = load_network(path)

    def warm(self, shape: Sequence[int]) -> None:
        """Do nothing: eager torch needs no preparation."""

    def run(self, patch: Patch) -> Array:
        """Return logits at half resolution, axes (channels, slices, rows, columns)."""
        with torch.inference_mode():
            image = torch.from_numpy(patch.values)[None, None]
            place = coordinate_channels(patch.values.shape, patch.centre, SPACING_MM)[None]
            return np.asarray(self._network(image, torch.from_numpy(place))[0].numpy())


def _engine(name: str, path: Path, threads: int, cache: Path) -> tuple[Any, str]:
    if name == EAGER:
        return _Eager(path, threads), ""
    kind, _, device = name.partition("-")
    model = load_bundle(path, engine=kind, device=device or "cpu", threads=threads, cache=cache)
    return model.engine, model.note


def _peak_mb() -> int:
    """Return the peak resident memory of this process; ru_maxrss also counts its parent before exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kib = next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
    except (OSError, StopIteration):
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kib * 1024 / 1e6)


def _run(name: str, path: Path, folder: Path, runs: int, threads: int) -> EngineTimes:
    image = np.load(folder / "image.npy")
    valid = np.ones(image.shape, bool)
    load_average = os.getloadavg()[0]
    start = time.perf_counter()
    engine, note = _engine(name, path, threads, folder / f"cache-{name}")
    loaded = time.perf_counter()
    engine.warm(image.shape)
    compiled = time.perf_counter()
    np.save(folder / f"{name}.npy", engine.run(Patch(image, valid, np.eye(4), 0.0, 1.0)))
    first_s, runs_s, cpu_s = time.perf_counter() - compiled, [], []
    for n in range(1, runs + 1):
        patch = Patch(np.roll(image, n, axis=0), valid, np.eye(4), 0.0, 1.0)
        began, cpu_began = time.perf_counter(), time.process_time()
        engine.run(patch)
        runs_s.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - cpu_began)
    return EngineTimes(
        engine.name, engine.precision, threads or torch.get_num_threads(), loaded - start,
        compiled - loaded, first_s, tuple(runs_s), tuple(cpu_s), _peak_mb(), load_average, note,
    )  # fmt: skip


def main() -> int:
    """Run `python -m node.bench.timing`; one JSON line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m node.bench.timing", description=__doc__)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    try:
        times = _run(options.engine, options.bundle, options.folder, options.runs, options.threads)
    except LumbarError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(asdict(times)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
