"""Folds on real workers over TLS: the numbers of one machine, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("distributed")

from model.bundle.card import default_path
from node.demo import servers
from tests.support.certificates import needs_openssl
from tests.support.clusters import Cluster, cluster, until
from tests.support.paths import ROOT
from training.cli.app import app
from training.fit.checkpoint import load

pytestmark = [pytest.mark.slow, needs_openssl, pytest.mark.timeout(400)]

RECIPE = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = {steps}
warm_up = 1
norm_steps = 1
[architecture]
width = 4
decoder = 2
dilations = [1]
"""
LONG = 20_000
"""Steps of a fold that no test waits for."""


@dataclass
class Folds:
    """A cluster whose workers train folds, and calls of `lumbar-train crossval`."""

    folder: Path
    here: Cluster
    cases: Path
    calls: list[subprocess.Popen[str]] = field(default_factory=list)

    def options(self, name: str) -> list[str]:
        pair = self.here.authority.issue(name)
        files = {
            "certificate": pair.certificate, "private-key": pair.key,
            "trusted": self.here.authority.certificate,
        }  # fmt: skip
        given = [a for option, file in files.items() for a in (f"--{option}", str(file))]
        return ["--scheduler", self.here.address, *given]

    def worker(self, name: str, cases: Path | None = None) -> servers.Running:
        """Start a worker with a folder of its own for what it trains."""
        log = self.folder / f"{name}.log"
        self.scratch(name).mkdir()
        running = servers.start(
            name,
            [sys.executable, "-m", "training", "worker", "--cases", str(cases or self.cases), *self.options(name)],
            log, lambda: "worker at tls" in log.read_text(),
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(self.scratch(name))},
        )  # fmt: skip
        self.here.running.append(running)
        return running

    def scratch(self, name: str) -> Path:
        return self.folder / f"scratch-{name}"

    def trains(self, name: str) -> bool:
        """Whether a worker has begun the steps of a fold."""
        return bool(list(self.scratch(name).glob("lumbar-train-fold-*/fold-*/recipe.json")))

    def call(self, out: str, steps: int = 2, *arguments: str) -> subprocess.Popen[str]:
        """Start `crossval --engine dask`."""
        return self._start(out, steps, "--engine", "dask", *self.options("home"), *arguments)

    def alone(self, out: str, steps: int = 2) -> None:
        """Do the same in this process."""
        before = torch.get_num_threads()
        try:
            done = CliRunner().invoke(app, self._arguments(out, steps))
            assert done.exit_code == 0, done.output
        finally:
            torch.set_num_threads(before)

    def _arguments(self, out: str, steps: int) -> list[str]:
        recipe = self.folder / f"{steps}.toml"
        recipe.write_text(RECIPE.format(steps=steps))
        return [
            "crossval", "--cases", str(self.cases), "--folds", "2",
            "--out", str(self.folder / out), "--recipe", str(recipe), "--threads", "1",
        ]  # fmt: skip

    def _start(self, out: str, steps: int, *arguments: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, "-m", "training", *self._arguments(out, steps), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.calls.append(started)
        return started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_cases: Path) -> Iterator[Folds]:
    folder = tmp_path_factory.mktemp("folds")
    with cluster(folder / "cluster", default_path()) as here:
        here.start_scheduler()
        folds = Folds(folder, here, tiny_cases)
        yield folds
        for call in folds.calls:
            with suppress(ProcessLookupError):
                call.kill()
            call.communicate(timeout=10)  # closes its pipe


def _ended(call: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = call.communicate(timeout=180)
    assert call.returncode == code, said
    return said


def test_folds_on_workers_that_are_killed_and_frozen_are_those_of_one_machine(
    made: Folds, tmp_path: Path
) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(made.cases, copied)
    first, second = made.worker("first", copied), made.worker("second")
    spread = made.call("spread")
    until(lambda: made.trains("first"))
    first.process.kill()
    until(lambda: made.trains("second") or (made.folder / "spread/fold-2/figures.json").exists())
    os.kill(second.process.pid, signal.SIGSTOP)
    made.worker("third", copied)
    said = _ended(spread)
    os.kill(second.process.pid, signal.SIGKILL)
    assert f"/train/{first.process.pid} ended; the fold begins again" in said
    for number in (1, 2):
        assert f"fold {number} of 2: " in said
        assert f"fold {number} on " in said

    made.alone("alone")
    for name in ("crossval.json", "folds.json", *(f"fold-{n}/figures.json" for n in (1, 2))):
        ours, theirs = (
            json.loads((made.folder / o / name).read_text()) for o in ("spread", "alone")
        )
        assert _timeless(ours) == _timeless(theirs), name
    for number in (1, 2):
        ours, theirs = (load(made.folder / o / f"fold-{number}/checkpoint.pt")["average"] for o in ("spread", "alone"))  # fmt: skip
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    names = [
        sorted(p.relative_to(made.folder / out).as_posix() for p in (made.folder / out).rglob("*") if not p.name.startswith("."))
        for out in ("spread", "alone")
    ]  # fmt: skip
    assert names[0] == names[1]


def _timeless(value: object) -> object:
    """Values without those that a clock gave."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k != "seconds"}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def test_a_worker_with_other_cases_is_refused_with_a_sentence(made: Folds, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(made.cases, other)
    card = next(other.rglob("*.json"))
    card.write_text(card.read_text() + "\n")
    for running in made.here.running[1:]:
        servers.stop(running)
    worker = made.worker("other", other)
    said = " ".join(_ended(made.call("refused"), 5).split())
    assert f"/train/{worker.process.pid}: cases " in said
    assert "copy the folder of --cases there and start the worker again" in said
    assert not made.trains("other")
    servers.stop(worker)


def test_ctrl_c_ends_the_folds_on_their_workers(made: Folds) -> None:
    worker = made.worker("long")
    call = made.call("interrupted", LONG)
    until(lambda: made.trains("long"))
    os.kill(call.pid, signal.SIGINT)
    _ended(call, 130)
    until(lambda: not made.trains("long"), 60.0)
    assert worker.alive
    # Its slot is free again, also when whoever asked was killed.
    call = made.call("interrupted", LONG)
    until(lambda: made.trains("long"))
    call.kill()
    until(lambda: not made.trains("long"), 60.0)
    assert worker.alive


def test_without_a_worker_or_a_scheduler_it_says_so(made: Folds) -> None:
    made.here.port, kept = 1, made.here.port
    began = time.monotonic()
    assert "the scheduler tls://127.0.0.1:1 does not answer" in _ended(made.call("nobody"), 5)
    assert time.monotonic() - began < 60.0
    made.here.port = kept
