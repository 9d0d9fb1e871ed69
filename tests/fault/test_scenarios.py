"""A small share of `make fault` at every run of the tests: every row that does not need minutes is clean.

The others (`kill-draw`, `peer-away`, `net-four`, …) run in `make fault` alone; `FAULT_SCALE=0.1` makes this share larger.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fault.broken import VARIANTS
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

SCALE = os.environ.get("FAULT_SCALE") or "0.02"
SEED = os.environ.get("FAULT_SEED") or "25"
HERE = (
    "kill-receive", "kill-track", "kill-work", "kill-deliver", "kill-random", "sync-order",
    "disk-full", "journal-corrupt", "spool-lost", "peer-moods", "net-cuts", "net-crowds", "fuzz",
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fault")


def _row(work: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run one scenario in a process of its own; returns its row, and what it printed."""
    command = [sys.executable, "-m", "tests.fault", "--work", str(work), "--seed", SEED]
    done = subprocess.run(
        [*command, "--scale", SCALE, *options],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=850,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCENARIO": ""},
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    (row,) = json.loads((work / "results.json").read_text(encoding="utf-8"))["rows"]
    if row["skipped"]:
        pytest.skip(row["skipped"])
    return row, done.stdout


@pytest.mark.parametrize("name", HERE)
def test_nothing_is_lost_doubled_stuck_or_unexplained(work: Path, name: str) -> None:
    row, printed = _row(work, name)
    assert row["runs"] > 0
    assert row["acknowledged"] > 0
    assert (row["lost"], row["doubled"], row["stuck"], row["unexplained"]) == (0, 0, 0, 0), printed


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_variant_is_found_out(work: Path, name: str) -> None:
    row, printed = _row(work, "--broken", name)
    assert any(row[column] > 0 for column in VARIANTS[name].columns), printed
