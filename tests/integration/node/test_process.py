"""`process` on a coded phantom, with the real science path and the label-coded fake as its engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.errors import SeriesRefused
from dicomseg.read.series import Grid
from dicomseg.segmentation import EngineInfo
from model.bundle.write import write_coded_bundle
from model.errors import EngineError
from node.cli import offline as cli
from node.cli.app import run
from node.config.sections import NodeConfig, ResultsConfig
from node.offline import run as process
from node.work import results
from node.work.pipeline import build_settings


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, list]]:  # type: ignore[type-arg]
    capsys.readouterr()
    code = run([str(a) for a in arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_process_finds_its_result_again_forces_another_and_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    phantom = ["phantom", "--out", "study", "--cases", "1", "--seed", "5", "--coded"]
    phantom += ["--fov", "axial", "--slices", "40"]
    subprocess.run([sys.executable, "-m", "training", *phantom], check=True, timeout=200)
    bundle = write_coded_bundle(tmp_path / "oracle")
    Path("config.toml").write_text(
        '[node]\nae_title = "NODE"\n[[node.destination]]\nname = "sent"\nkind = "folder"\n'
        f'path = "sent"\n[model]\nbundle = "{bundle}"\n'
    )
    code, first = _json(capsys, "process", "study", "--json", "--send")
    (row,) = first["series"]
    assert (code, row["outcome"]) == (0, "written")
    (truth,) = Path("study").glob("*/truth.json")
    true = json.loads(truth.read_text())["measurements"]
    for name, value in row["measurements"].items():
        assert value == pytest.approx(true[name]["value_mm"], abs=1.0), name
    assert [s["storage"] for s in first["sent"]] == ["stored"]
    assert {p.name for p in (tmp_path / "sent" / row["result_id"]).iterdir()} == {
        "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm",
        "summary.dcm", "report.dcm", "surface.dcm",
    }  # fmt: skip
    folder = Path(row["folder"])
    content = json.loads((folder / "result.json").read_text())
    listed = [f["file"] for f in (*content["objects"], *content["files"])]
    held = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    assert sorted(held) == sorted([*listed, "result.json"])
    assert "surfaces/all.glb" in held
    code, again = _json(capsys, "process", "study", "--json")
    assert (code, again["series"][0]["outcome"]) == (0, "already there")
    assert again["series"][0]["result_id"] == row["result_id"]
    code, forced = _json(capsys, "process", "study", "--json", "--force")
    assert (code, forced["series"][0]["outcome"]) == (0, "written")
    assert forced["series"][0]["result_id"] != row["result_id"]
    assert forced["series"][0]["measurements"] == row["measurements"]
    newest = Path(forced["series"][0]["folder"]) / "result.json"
    assert json.loads(newest.read_text())["predecessor"] == row["result_id"]


@pytest.mark.parametrize(
    ("fault", "did", "text"),
    [
        (SeriesRefused("no result can be written from its attribute X"), "refused", "attribute X"),
        (EngineError("the device is lost"), "failed", "the device is lost"),
        (ValueError("a name\nof a patient"), "failed", "internal error (ValueError); details in "),
        (MemoryError(), "failed", "internal error (MemoryError)"),
        (OSError(28, "No space left"), "failed", "internal error (OSError: No space left)"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_one_bad_series_never_ends_a_batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_series: Any,
    fault: Exception,
    did: str,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for n in (1, 2, 3):
        write_series(tmp_path / "in" / str(n), series=f"1.2.{n}", StudyInstanceUID=f"1.9.{n}")
    answered = SimpleNamespace(files={"result.json": b"{}"}, fault=None)

    def process_series(grid: Grid, *_: object) -> object:
        if grid.instances[0].series_uid == "1.2.2":
            raise fault
        return answered

    _answer_by(process_series, tmp_path, monkeypatch)
    code, output = _json(capsys, "process", "in", "--json")
    rows = {row["series"]: row for row in output["series"]}
    assert code == 4
    assert [rows[f"1.2.{n}"]["outcome"] for n in (1, 2, 3)] == ["written", did, "written"]
    assert text in rows["1.2.2"]["text"]
    assert "\n" not in rows["1.2.2"]["text"]
    assert "patient" not in rows["1.2.2"]["text"]


def _answer_by(
    process_series: Callable[..., object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the command take its results from a function."""
    model: Any = SimpleNamespace(info=EngineInfo("n", "1", "d", "none", "float32"))
    settings = build_settings(NodeConfig(ae_title="NODE"), ResultsConfig())
    clock = lambda: datetime(2030, 1, 1, tzinfo=UTC)  # noqa: E731
    offline_run = process.OfflineRun(model, settings, folder / "out", clock)
    monkeypatch.setattr(cli, "_offline_run", lambda *_, **__: offline_run)
    monkeypatch.setattr(results, "process_series", process_series)


def test_result_without_pictures_is_written_and_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_series: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / "in", series="1.2.1")
    files, fault = {"result.json": b"{}"}, ValueError("a name of a patient")
    _answer_by(lambda *_: SimpleNamespace(files=files, fault=fault), tmp_path, monkeypatch)
    assert run(["process", "in", "--json"]) == 0
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)["series"]
    assert (row["outcome"], row["text"]) == (
        "written",
        "written without page and surfaces: ValueError",
    )
    assert row["text"] in printed.err
    assert "patient" not in printed.err


@pytest.mark.parametrize("content", ["{", "[]", '{"source": null}', '{"source": "s"}', "{}"])
def test_result_files_of_others_in_the_folder_are_passed_over(tmp_path: Path, content: str) -> None:
    for name, text in (("a", content), ("b", '{"source": {"series": "1.2"}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text, encoding="utf-8")
    assert [key.result_id for key in process.results_in(tmp_path, "1.2")] == ["b"]
