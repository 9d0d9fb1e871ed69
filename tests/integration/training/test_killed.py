"""A training that is killed before any number of steps is full loses no more than the time between checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.fit import checkpoint, level, roots, segmentation

RECIPE = """
crops = [[16, 16, 16]]
narrow = [16, 16, 8]
accumulate = 1
steps = 100000
[architecture]
width = 8
decoder = 2
dilations = [1]
"""
SOON = (
    "import sys; from training.fit import segmentation, level;"
    " segmentation.CHECKPOINT_EVERY_S = level.SAVE_EVERY_S = 0.1;"
    " from training.cli.app import run; sys.exit(run(sys.argv[1:]))"
)


def test_no_training_risks_more_than_a_minute() -> None:
    assert segmentation.CHECKPOINT_EVERY_S <= 60
    assert level.SAVE_EVERY_S <= 60
    assert roots.SAVE_EVERY_S <= 60


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("command", "kept", "number"),
    [("fit", "run/checkpoint.pt", signal.SIGKILL), ("level", "run.unfinished", signal.SIGTERM)],
)
def test_a_killed_training_continues_from_its_last_seconds(
    tiny_cases: Path, tmp_path: Path, command: str, kept: str, number: signal.Signals
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    options = ["--recipe", str(recipe)] if command == "fit" else ["--steps", "100000"]
    call = [sys.executable, "-c", SOON, command, "--cases", str(tiny_cases), *options]
    killed = subprocess.Popen(
        [*call, "--out", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 150
        while not (tmp_path / kept).exists() and time.monotonic() < deadline:
            assert killed.poll() is None
            time.sleep(0.1)
    finally:
        killed.send_signal(number)
        killed.wait(30)
    assert killed.returncode == -number
    state = checkpoint.load(tmp_path / kept)
    step = state["step"] if command == "fit" else state["fit"]["step"]
    assert 0 < step < 100
