"""The samples of a training are the same whoever draws them, also after a jump."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.draw_workers import RECIPE, equal
from tests.support.paths import ROOT
from training.data.held_out import split_cases
from training.fit.draws import Cohort


@pytest.fixture
def cohort(tiny_cases: Path) -> Cohort:
    phantoms, slabs, _ = split_cases(tiny_cases, ())
    return Cohort(RECIPE, phantoms, slabs)


@pytest.mark.slow
def test_workers_draw_what_the_process_itself_draws(tiny_cases: Path) -> None:
    call = [sys.executable, "-m", "tests.support.draw_workers", str(tiny_cases)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1 workers: 3 samples", "2 workers: 3 samples", "1 worker: the same step",
    ]  # fmt: skip


def test_a_cohort_can_be_sent_to_a_worker(cohort: Cohort) -> None:
    assert pickle.loads(pickle.dumps(cohort)) == cohort  # noqa: S301 - our own


def test_a_sample_on_a_device_has_the_layout_of_the_network(cohort: Cohort) -> None:
    drawn = cohort.draw(0)
    placed = drawn.to(torch.device("cpu"))
    assert equal(drawn, placed)
    assert placed.sample.image.is_contiguous(memory_format=torch.channels_last_3d)
