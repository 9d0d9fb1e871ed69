"""`lumbar-train fit` on the command line: it ends, resumes, and draws curves when asked."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from torch.distributed.run import get_args_parser
from typer.testing import CliRunner

from training.cli.app import app
from training.cli.fit import fit
from training.fit.segmentation import CHECKPOINT

RECIPE = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = 3
warm_up = 1
norm_steps = 0
[architecture]
width = 4
decoder = 2
dilations = [1]
"""


def test_a_run_is_reported_resumed_and_drawn(tiny_cases: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE, encoding="utf-8")
    before = torch.get_num_threads()
    call = ["fit", "--cases", str(tiny_cases), "--out", str(out), "--recipe", str(recipe)]
    call += ["--threads", "1"]
    try:
        first = CliRunner().invoke(app, [*call, "--max-minutes", "0"])
        assert first.exit_code == 0, first.output
        assert "step 0 of 3, time limit reached" in first.output
        second = CliRunner().invoke(app, [*call, "--tensorboard"])
        assert "step 3 of 3, done" in second.output
    finally:
        torch.set_num_threads(before)
    assert (out / CHECKPOINT).exists()
    (curves,) = (out / "tensorboard").iterdir()
    assert curves.stat().st_size > 100


def test_the_line_of_the_help_survives_torchruns_own_options() -> None:
    """Its parser completes abbreviations: without `--` it takes `--start` for `--start-method`."""
    (line,) = [text.strip() for text in (fit.__doc__ or "").splitlines() if "torchrun" in text]
    words = shlex.split(line)[1:]
    for more in ([], ["--start", "bundle"], ["--start=bundle"]):
        given = get_args_parser().parse_args([*words, *more])
        assert given.training_script == "training"
        assert given.training_script_args == [*words[words.index("fit") :], *more]
    with pytest.raises(SystemExit):
        get_args_parser().parse_args([w for w in words if w != "--"] + ["--start", "bundle"])
