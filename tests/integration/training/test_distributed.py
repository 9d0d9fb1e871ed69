"""Two processes under `torchrun` train what one trains; draws that cannot be shared are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.bundle.card import default_path
from node.free_ports import free_ports
from training.errors import UsageError
from training.fit import checkpoint
from training.fit.distributed import Processes
from training.fit.segmentation import CHECKPOINT

RECIPE = """
crops = [[16, 16, 16]]
narrow = [16, 16, 8]
accumulate = 2
steps = {steps}
warm_up = 1
norm_steps = 0
"""
TINY = """
[architecture]
width = 8
decoder = 2
dilations = [1]
"""
SHIPPED = """
[architecture]
position = 24
context = 192
"""


def test_draws_are_shared_evenly_or_refused() -> None:
    assert list(Processes(1, 2).share(range(4, 8))) == [5, 7]
    with pytest.raises(UsageError, match="3 samples a step cannot be shared by 2"):
        Processes(0, 2).share(range(3))


def _fit(*options: str, several: bool) -> str:
    """Run a training in one process, or in two under `torchrun`; returns what it printed."""
    (port,) = map(str, free_ports())
    torchrun = [
        "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", port, "-m", "--",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *(torchrun if several else ["-m"]), "training", "fit", *options, "--threads", "1"],
        capture_output=True, text=True, check=False, timeout=90, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(200)
@pytest.mark.parametrize("start", [None, default_path()], ids=["from nothing", "from a bundle"])
def test_two_processes_take_the_steps_of_one(
    tiny_cases: Path, tmp_path: Path, start: Path | None
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(steps=3) + (SHIPPED if start else TINY), encoding="utf-8")
    shared = ["--cases", str(tiny_cases), "--recipe", str(recipe)]
    shared += ["--start", str(start)] if start else []
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        said = _fit(*shared, "--out", str(out), several=out is two)
        assert said.count("step 3 of 3, done") == 1
    alone, together = (checkpoint.load(run / CHECKPOINT)["network"] for run in (one, two))
    assert set(alone) == set(together)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4, msg=name)
    stored = json.loads((two / "recipe.json").read_text(encoding="utf-8"))
    assert stored["accumulate"] == 2


@pytest.mark.timeout(300)
def test_two_processes_that_were_stopped_continue_to_the_same_weights(
    tiny_cases: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(steps=60) + TINY, encoding="utf-8")
    shared = ["--cases", str(tiny_cases), "--recipe", str(recipe)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _fit(*shared, "--out", str(whole), several=True)
    said = _fit(*shared, "--out", str(stopped), "--max-minutes", "0.01", several=True)
    assert 0 < checkpoint.load(stopped / CHECKPOINT)["step"] < 60, said
    assert said.count("time limit reached") == 1
    assert "step 60 of 60, done" in _fit(*shared, "--out", str(stopped), several=True)
    first, second = (checkpoint.load(run / CHECKPOINT)["network"] for run in (whole, stopped))
    for name, value in first.items():
        assert torch.equal(second[name], value), name
