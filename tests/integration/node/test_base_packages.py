"""The service works with the base packages alone: what only training needs may be absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING_ONLY = ("SimpleITK", "dicomweb_client", "nibabel", "dicomanonymizer")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({TRAINING_ONLY}))"
"""An entry None in `sys.modules` makes every import of that name fail."""


def _python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    run = subprocess.run(
        [sys.executable, "-c", f"{BLOCKED}\n{code}", *arguments],
        capture_output=True, text=True, check=False, timeout=250, cwd=cwd,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_every_module_of_the_service_imports_without_the_packages_of_the_training() -> None:
    code = """
import importlib, pkgutil
import dicomseg, model, node
for package in (dicomseg, model, node):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""
    _python(code)


def test_blocking_makes_the_training_importer_fail() -> None:
    with pytest.raises(AssertionError, match="SimpleITK"):
        _python("import training.importing.seg")


@pytest.mark.slow
def test_process_writes_a_result_without_the_packages_of_the_training(
    tmp_path: Path, oracle_bundle: Path
) -> None:
    phantom = ["phantom", "--out", "study", "--cases", "1", "--seed", "5", "--coded"]
    phantom += ["--slices", "40", "--matrix", "160"]
    subprocess.run(
        [sys.executable, "-m", "training", *phantom], check=True, timeout=200, cwd=tmp_path
    )
    run = "from node.cli.app import run; raise SystemExit(run(sys.argv[1:]))"
    out = _python(run, "process", "study", "--bundle", str(oracle_bundle), "--json", cwd=tmp_path)
    (row,) = json.loads(out)["series"]
    assert row["outcome"] == "written"
    assert (tmp_path / "results" / row["result_id"] / "seg.dcm").is_file()
