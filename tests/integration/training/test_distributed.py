"""Two processes under `torchrun` train what one trains; draws that cannot be shared are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from node.free_ports import free_ports
from training.errors import UsageError
from training.fit import checkpoint
from training.fit.distributed import Processes
from training.fit.segmentation import CHECKPOINT

RECIPE = """
crops = [[16, 16, 16]]
narrow = [16, 16, 8]
accumulate = 2
steps = 3
warm_up = 1
norm_steps = 0
[architecture]
width = 8
decoder = 2
dilations = [1]
"""


def test_draws_are_shared_evenly_or_refused() -> None:
    assert list(Processes(1, 2).share(range(4, 8))) == [5, 7]
    with pytest.raises(UsageError, match="3 samples a step cannot be shared by 2"):
        Processes(0, 2).share(range(3))


@pytest.mark.timeout(200)
def test_two_processes_take_the_steps_of_one(tiny_cases: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    fit = ["-m", "training", "fit", "--cases", str(tiny_cases), "--recipe", str(recipe)]
    (port,) = map(str, free_ports())
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    several += ["--master-addr", "127.0.0.1", "--master-port", port]
    for name, start in (("one", []), ("two", several)):
        done = subprocess.run(
            [sys.executable, *start, *fit, "--out", str(tmp_path / name), "--threads", "1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("step 3 of 3, done") == 1
    one, two = (checkpoint.load(tmp_path / n / CHECKPOINT)["network"] for n in ("one", "two"))
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4, msg=name)
    stored = json.loads((tmp_path / "two" / "recipe.json").read_text(encoding="utf-8"))
    assert stored["accumulate"] == 2
