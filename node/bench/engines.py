"""`bench engines`: every engine of this machine on one image, each in its own process.

The reference is eager float32 torch of the same weights in the same run: contiguous layout, the modules as
they were trained. Every figure comes from runs of this call; each run gets another image, and the
converted network goes to an empty folder, so no output and no file of an earlier call is reused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model.bundle.load_torch import load_network
from model.grid import MULTIPLE, PAPER_SHAPE, Index
from node.bench.label_agreement import Agreement, compare_labels, synthetic_image, to_labels
from node.bench.timing import EAGER, EngineTimes
from node.errors import BenchFailed, UsageError
from node.work.worker_process import PATIENT

SMALLEST: Final = 16
"""Voxels per axis below which norms over the image have too few values."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    shape: of the patch, (slices, rows, columns). threads: of the CPU, 0 = all cores.
    """

    bundle: Path
    shape: Index = PAPER_SHAPE
    runs: int = 5
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One engine; `fault` says why it has no figures."""

    name: str
    times: EngineTimes | None = None
    ratio: float | None = None
    agreement: Agreement | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The rows, and the machine and versions that they were measured on."""

    plan: Plan
    machine: str
    versions: dict[str, str]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields and the median of each row, for programs."""
        report = asdict(self)
        for row, shown in zip(self.rows, report["rows"], strict=True):
            if row.times is not None:
                shown["times"]["median_s"] = row.times.median_s
        return report


def check_plan(plan: Plan) -> None:
    """Check that a network can run on the shape.

    Raises:
        UsageError: it cannot.
    """
    if any(n % MULTIPLE or n < SMALLEST for n in plan.shape):
        shape = " ".join(str(n) for n in plan.shape)
        raise UsageError(
            f"--shape {shape}: every size has to be a multiple of {MULTIPLE} and at least {SMALLEST}"
        )


def measure(plan: Plan, progress: Callable[[str], None]) -> Report:
    """Measure one engine after the other.

    progress: receives the name of each.

    Raises:
        UsageError: the shape is too small or no multiple of the network's.
        BenchFailed: eager torch has no figures.
        BundleError: the bundle is damaged.
    """
    check_plan(plan)
    load_network(plan.bundle)  # refused once, not by every engine
    names = ["torch", "openvino", *(["torch-cuda"] if torch.cuda.is_available() else [])]
    with tempfile.TemporaryDirectory(prefix="lumbar-node-bench-") as name:
        folder = Path(name)
        np.save(folder / "image.npy", synthetic_image(plan.shape))
        progress(EAGER)
        eager = _time_engine(plan, EAGER, folder)
        if isinstance(eager, str):
            raise BenchFailed(f"eager torch, the reference, failed: {eager}")
        expected = to_labels(np.load(folder / f"{EAGER}.npy"))
        rows = [Row(EAGER, eager, 1.0, compare_labels(expected, expected))]
        for engine in names:
            progress(engine)
            times = _time_engine(plan, engine, folder)
            if isinstance(times, str):
                rows.append(Row(engine, fault=times))
                continue
            labels = to_labels(np.load(folder / f"{engine}.npy"))
            ratio = eager.median_s / times.median_s
            rows.append(Row(engine, times, ratio, compare_labels(labels, expected)))
    return Report(plan, machine(), _versions(), tuple(rows))


def _time_engine(plan: Plan, engine: str, folder: Path) -> EngineTimes | str:
    """Run one engine in a new process; return a sentence if it has no figures."""
    command = [
        sys.executable, "-m", "node.bench.timing", "--engine", engine, "--folder", str(folder),
        "--bundle", str(plan.bundle), "--runs", str(plan.runs), "--threads", str(plan.threads),
    ]  # fmt: skip
    ended = subprocess.run(
        command, env={**PATIENT, **os.environ}, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {ended.returncode}"
    times = json.loads(ended.stdout.splitlines()[-1])
    return EngineTimes(
        **{**times, "runs_s": tuple(times["runs_s"]), "cpu_s": tuple(times["cpu_s"])}
    )


def machine() -> str:
    """Return the processor and the number of cores that this process may use."""
    name = "unknown CPU"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _versions() -> dict[str, str]:
    versions = {}
    for name in ("torch", "openvino"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
