"""The chain of `make reproduce-model`, short: from phantoms and SPIDER to a calibrated bundle that scores as it began."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(1500)]

STAGES = {
    "phantoms", "slabs", "varied", "level", "fit", "networks", "roots", "plain", "others", "shifted",
    "errors", "bundle", "unseen", "lumbar-l45-phantoms", "lumbar-l45-patients", "bundle-phantoms", "bundle-patients",
}  # fmt: skip


def _chain(spider: Path, out: Path) -> str:
    done = subprocess.run(
        ["sh", "training/reproduce.sh", sys.executable, str(spider), str(out)],
        cwd=ROOT, env={**os.environ, "SHORT": "1", "OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=1400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-3000:])
    return done.stdout


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _dice(results: Path) -> dict[tuple[str, str], float]:
    """Dice by case and structure."""
    return {
        (case["case_id"], name): score["dice"]
        for case in _read(results)["cases"]
        for name, score in case["scores"].items()
        if score["state"] == "scored"
    }


def test_the_short_chain_ends_in_a_bundle_that_scores_as_it_began(
    shared: Path, tmp_path: Path
) -> None:
    begun = {line[3:] for line in _chain(shared / "data/spider", tmp_path).splitlines() if line[:3] == "== "}  # fmt: skip
    assert begun == STAGES
    card = _read(tmp_path / "bundle" / "card.json")
    assert card["version"] == "0.0.4+reproduced"
    shipped = _read(ROOT / "model/bundles/lumbar-l45/card.json")
    assert card["outline_shifts"] == shipped["outline_shifts"]
    assert card["evaluation"] == _read(tmp_path / "errors.json")["evaluation"]
    assert {"spider-005", "spider-045", "spider-110", "spider-200"} <= set(card["training"]["held_out"])  # fmt: skip
    for cohort, cases in (("phantoms", 1), ("patients", 4)):
        before = _dice(tmp_path / f"lumbar-l45-{cohort}.json")
        after = _dice(tmp_path / f"bundle-{cohort}.json")
        assert before.keys() == after.keys()
        assert len({case for case, _ in before}) == cases
        assert max(abs(after[k] - before[k]) for k in before if k[1] != "n4") < 0.03
    assert "== " not in _chain(shared / "data/spider", tmp_path)  # nothing is done twice
