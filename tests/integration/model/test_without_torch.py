"""The shipped bundle on a CPU, in processes in which torch cannot be imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from model.bundle.card import CARD, FILES, default_path, seal

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment in which importing torch, or what reads its weights, ends the process."""
    folder = tmp_path_factory.mktemp("absent")
    for name in ("torch", "safetensors"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"}


def run(env: Mapping[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=dict(env), capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip


def test_process_makes_a_result(no_torch: Mapping[str, str], tmp_path: Path) -> None:
    made = ("-m", "training", "phantom", "--out", tmp_path / "study", "--seed", 41)
    assert run({**os.environ, "PYTHONPATH": str(ROOT)}, *made).returncode == 0
    config = tmp_path / "config.toml"
    config.write_text(
        f'[node]\nae_title = "NODE"\nstate = "{tmp_path / "state"}"\n', encoding="utf-8"
    )
    command = ("-m", "node", "process", tmp_path / "study", "--out", tmp_path / "out")
    done = run(no_torch, *command, "--config", config)
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "out").rglob("result.json")
    content = json.loads(result.read_text(encoding="utf-8"))
    assert content["model"]["engine"] == "openvino-cpu"


def test_commands_about_models_need_no_torch(no_torch: Mapping[str, str], tmp_path: Path) -> None:
    """A promotion tries the bundle out, by its graphs."""
    config = tmp_path / "config.toml"
    state = tmp_path / "state"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{state}"\n', encoding="utf-8")
    bundle = tmp_path / "other"
    shutil.copytree(default_path(), bundle)
    card = json.loads((bundle / CARD).read_text(encoding="utf-8")) | {"version": "9"}
    (bundle / CARD).write_text(json.dumps(seal(card, bundle)), encoding="utf-8")
    who = ("--by", "a test", "--reason", "to see")
    for command in (("verify",), ("promote", bundle, *who), ("verify",), ("rollback", *who)):
        done = run(no_torch, "-m", "node", "models", *command, "--config", config)
        assert done.returncode == 0, done.stderr
    (installed,) = (state / "models").iterdir()
    assert {path.name for path in installed.iterdir()} == set(FILES)


def test_the_package_that_reports_is_not_imported_even_where_it_is_installed(
    tmp_path: Path,
) -> None:
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text("raise SystemExit(9)\n")
    code = "from model.engines.openvino_cpu import package; package(); import openvino.tools.ovc"
    done = run({**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
