"""A small share of `make fault` at every run of the tests: every row that does not need minutes is clean.

Full size is `make fault` (an hour or two), which has the other rows too; `FAULT_SCALE=0.1` makes this share larger.
Below a tenth of the full size a series is segmented and measured once for all of its copies, in every node here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.fault.broken import VARIANTS
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(1800)]

SCALE = os.environ.get("FAULT_SCALE") or "0.02"
SEED = os.environ.get("FAULT_SEED") or "25"
HERE = (
    "kill-receive", "kill-track", "kill-work", "kill-deliver", "kill-random", "sync-order",
    "disk-full", "spool-lost", "peer-moods", "web-moods", "commitment", "net-cuts", "fuzz",
)  # fmt: skip


def _rows(work: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Run scenarios in a process of their own, four side by side; returns their rows by name."""
    command = [
        sys.executable,
        "-m",
        "tests.fault",
        "--work",
        str(work),
        "--seed",
        SEED,
        "--jobs",
        "4",
    ]
    done = subprocess.run(
        [*command, "--scale", SCALE, *names],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=1700,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCENARIO": ""},
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    sys.stdout.write(done.stdout)
    rows = json.loads((work / "results.json").read_text(encoding="utf-8"))["rows"]
    return {row["name"]: row for row in rows}


def _ran(row: dict[str, Any]) -> dict[str, Any]:
    if row["skipped"]:
        pytest.skip(row["skipped"])
    assert row["runs"] > 0, row["findings"]
    return row


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run all at once, so that none waits alone: the time is that of the first test, as its set-up."""
    return _rows(tmp_path_factory.mktemp("fault"), [*HERE, *VARIANTS])


@pytest.mark.parametrize("name", HERE)
def test_nothing_is_lost_doubled_stuck_or_unexplained(rows: Any, name: str) -> None:
    row = _ran(rows[name])
    assert row["acknowledged"] > 0, row["findings"]
    counts = (row["lost"], row["doubled"], row["stuck"], row["unexplained"])
    assert counts == (0, 0, 0, 0), row["findings"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_variant_is_found_out(rows: Any, name: str) -> None:
    row = _ran(rows[name])
    assert any(row[column] > 0 for column in VARIANTS[name].columns), row["findings"]
