"""`process` on a coded phantom, with the real science path and the oracle as its engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model.oracle import write_bundle
from node.cli import run

pytestmark = pytest.mark.slow


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, list]]:  # type: ignore[type-arg]
    capsys.readouterr()
    code = run([str(a) for a in arguments])
    return code, json.loads(capsys.readouterr().out)


def test_process_finds_its_result_again_forces_another_and_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    phantom = ["phantom", "--out", "study", "--cases", "1", "--seed", "5", "--coded"]
    phantom += ["--fov", "axial", "--slices", "40"]
    subprocess.run([sys.executable, "-m", "training.cli", *phantom], check=True, timeout=200)
    bundle = write_bundle(tmp_path / "oracle")
    Path("config.toml").write_text(
        '[node]\nae_title = "NODE"\n[[node.destination]]\nname = "sent"\nkind = "folder"\n'
        f'path = "sent"\n[model]\nbundle = "{bundle}"\n'
    )
    code, first = _json(capsys, "process", "study", "--json", "--send")
    (row,) = first["series"]
    assert (code, row["did"]) == (0, "written")
    (truth,) = Path("study").glob("*/truth.json")
    true = json.loads(truth.read_text())["measurements"]
    for name, value in row["measurements"].items():
        assert value == pytest.approx(true[name]["value_mm"], abs=1.0), name
    assert [s["proof"] for s in first["sent"]] == ["found"]
    assert {p.name for p in (tmp_path / "sent" / row["result_id"]).iterdir()} == {
        "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm",
    }  # fmt: skip
    code, again = _json(capsys, "process", "study", "--json")
    assert (code, again["series"][0]["did"]) == (0, "already there")
    assert again["series"][0]["result_id"] == row["result_id"]
    code, forced = _json(capsys, "process", "study", "--json", "--force")
    assert (code, forced["series"][0]["did"]) == (0, "written")
    assert forced["series"][0]["result_id"] != row["result_id"]
    assert forced["series"][0]["measurements"] == row["measurements"]
    newest = Path(forced["series"][0]["folder"]) / "result.json"
    assert json.loads(newest.read_text())["predecessor"] == row["result_id"]
