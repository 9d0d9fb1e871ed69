"""`bench engines`: every engine of this machine on one image, each in a process of its own.

The measure is eager float32 torch of the same weights in the same run: contiguous layout, the modules as
they were trained. Every figure comes from runs of this call; each run gets another image, and the
converted network goes to an empty folder, so no answer and no file of an earlier call can stand in.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from dicomseg.errors import LumbarError
from dicomseg.structures import STRUCTURES
from dicomseg.volume import Array
from model.bundle.load import load_bundle, load_network
from model.grid import MULTIPLE, PAPER_SHAPE, SPACING_MM, Index
from model.networks.blocks import coordinate_channels
from model.patch import Patch
from node.errors import BenchFailed, UsageError
from node.work.worker_process import PATIENT

EAGER: Final = "eager"
SEED: Final = 20230818
SMALLEST: Final = 16
"""Voxels per axis below which norms over the image have too little to look at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. shape: of the patch; threads: 0 leaves them to torch."""

    bundle: Path
    shape: Index = PAPER_SHAPE
    runs: int = 5
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What one engine took, as its own process says.

    load_s: bundle to engine, conversion included. compile_s: made ready for this shape. first_s: first run,
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


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far labels at full resolution agree with eager's.

    equal: share of all voxels. equal_foreground: share of those that either calls a structure. The
    lowest Dice is over the `structures` that eager found. None where eager found no structure.
    """

    equal: float
    equal_foreground: float | None
    lowest_dice: float | None
    lowest_structure: str | None
    structures: int
    foreground_voxels: int


@dataclass(frozen=True, slots=True)
class Row:
    """One engine; `fault` says why there are no figures."""

    name: str
    taken: Taken | None = None
    ratio: float | None = None
    agreement: Agreement | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The table and what it was measured on."""

    plan: Plan
    machine: str
    versions: dict[str, str]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs: the fields, and each row's median."""
        told = asdict(self)
        for row, shown in zip(self.rows, told["rows"], strict=True):
            if row.taken is not None:
                shown["taken"]["median_s"] = row.taken.median_s
        return told


def check(plan: Plan) -> None:
    """Refuse what no network can run. Raises `UsageError`."""
    if any(n % MULTIPLE or n < SMALLEST for n in plan.shape):
        told = " ".join(str(n) for n in plan.shape)
        raise UsageError(
            f"--shape {told}: every size has to be a multiple of {MULTIPLE} and at least {SMALLEST}"
        )


def image_of(shape: Index, seed: int = SEED) -> Array:
    """Seeded image, z-scored float32: smooth blobs of two sizes under noise."""
    rng = np.random.default_rng(seed)
    made = np.zeros(shape, np.float32)
    for sigma, weight in ((10.0, 1.0), (4.0, 0.6), (0.0, 0.25)):
        part = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
        made += np.float32(weight) * part / part.std()
    return np.asarray((made - made.mean()) / made.std())


def labels_of(logits: Array) -> Array:
    """Best class of every voxel at full resolution, from half-resolution logits (channels, d, h, w)."""
    full = functional.interpolate(
        torch.from_numpy(logits)[None], scale_factor=2.0, mode="trilinear", align_corners=False
    )
    return np.asarray(full[0].argmax(0).to(torch.uint8).numpy())


def agreement_of(found: Array, expected: Array) -> Agreement:
    """Compare two label maps of the same shape."""
    same = found == expected
    front = (found > 0) | (expected > 0)
    dices = {
        s.id: 2 * float(np.count_nonzero(same & (expected == s.value)))
        / float(np.count_nonzero(found == s.value) + np.count_nonzero(expected == s.value))
        for s in STRUCTURES
        if (expected == s.value).any()
    }  # fmt: skip
    lowest, dice = min(dices.items(), key=lambda item: item[1]) if dices else (None, None)
    return Agreement(
        equal=float(same.mean()),
        equal_foreground=float(same[front].mean()) if front.any() else None,
        lowest_dice=dice,
        lowest_structure=lowest,
        structures=len(dices),
        foreground_voxels=int(np.count_nonzero(expected)),
    )


def measure(plan: Plan, say: Callable[[str], None]) -> Report:
    """Measure one engine after the other. Raises `UsageError`, `BenchFailed` and `BundleError`."""
    check(plan)
    load_network(plan.bundle)  # refused here, and not once per engine
    names = ["torch", "openvino", *(["torch-cuda"] if torch.cuda.is_available() else [])]
    with tempfile.TemporaryDirectory(prefix="lumbar-node-bench-") as name:
        folder = Path(name)
        np.save(folder / "image.npy", image_of(plan.shape))
        say(EAGER)
        base = _taken(plan, EAGER, folder)
        if isinstance(base, str):
            raise BenchFailed(f"eager torch, the measure of the others, failed: {base}")
        expected = labels_of(np.load(folder / f"{EAGER}.npy"))
        rows = [Row(EAGER, base, 1.0, agreement_of(expected, expected))]
        for engine in names:
            say(engine)
            taken = _taken(plan, engine, folder)
            if isinstance(taken, str):
                rows.append(Row(engine, fault=taken))
                continue
            found = labels_of(np.load(folder / f"{engine}.npy"))
            ratio = base.median_s / taken.median_s
            rows.append(Row(engine, taken, ratio, agreement_of(found, expected)))
    return Report(plan, machine(), _versions(), tuple(rows))


def _taken(plan: Plan, engine: str, folder: Path) -> Taken | str:
    """Run one engine in a new process; a sentence when it has no figures."""
    command = [
        sys.executable, "-m", "node.bench.engines", "--engine", engine, "--folder", str(folder),
        "--bundle", str(plan.bundle), "--runs", str(plan.runs), "--threads", str(plan.threads),
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**PATIENT, **os.environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"ended with {done.returncode}"
    told = json.loads(done.stdout.splitlines()[-1])
    return Taken(**{**told, "runs_s": tuple(told["runs_s"]), "cpu_s": tuple(told["cpu_s"])})


def machine() -> str:
    """Processor and how many of its cores this process may use."""
    name = "unknown CPU"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# ---- the process of one engine -------------------------------------------------------------------


class _Eager:
    """The network as it was trained and saved."""

    name = EAGER
    precision = "float32"

    def __init__(self, path: Path, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._network = load_network(path)

    def warm(self, shape: Sequence[int]) -> None:
        """Nothing to prepare."""

    def run(self, patch: Patch) -> Array:
        """Logits at half resolution."""
        with torch.inference_mode():
            image = torch.from_numpy(patch.values)[None, None]
            place = coordinate_channels(patch.values.shape, patch.centre, SPACING_MM)[None]
            return np.asarray(self._network(image, place)[0].numpy())


def _engine(name: str, path: Path, threads: int, cache: Path) -> tuple[Any, str]:
    if name == EAGER:
        return _Eager(path, threads), ""
    kind, _, device = name.partition("-")
    model = load_bundle(path, engine=kind, device=device or "cpu", threads=threads, cache=cache)
    return model.engine, model.note


def _peak_mb() -> int:
    """Most resident memory of this process; ru_maxrss would count its parent's from before exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kib = next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
    except (OSError, StopIteration):
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kib * 1024 / 1e6)


def _run(name: str, path: Path, folder: Path, runs: int, threads: int) -> Taken:
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
        given = Patch(np.roll(image, n, axis=0), valid, np.eye(4), 0.0, 1.0)
        began, cpu_began = time.perf_counter(), time.process_time()
        engine.run(given)
        runs_s.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - cpu_began)
    return Taken(
        engine.name, engine.precision, threads or torch.get_num_threads(), loaded - start,
        compiled - loaded, first_s, tuple(runs_s), tuple(cpu_s), _peak_mb(), load_average, note,
    )  # fmt: skip


def main() -> int:
    """Run `python -m node.bench.engines`; one JSON line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m node.bench.engines", description=__doc__)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    try:
        taken = _run(given.engine, given.bundle, given.folder, given.runs, given.threads)
    except LumbarError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(asdict(taken)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
