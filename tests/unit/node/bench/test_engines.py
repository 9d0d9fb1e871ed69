"""`bench engines`: real runs in processes of their own, and figures that are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.bundle.write import write_bundle, write_coded_bundle
from model.engines import choose
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from node.bench import engines as bench_engines
from node.bench import timing
from node.bench.engines import Plan, measure
from node.bench.label_agreement import compare_labels, synthetic_image, to_labels
from node.bench.timing import EngineTimes
from node.cli import bench as bench_command
from node.cli.app import run
from node.errors import BenchFailed, UsageError

SHAPE = (16, 32, 16)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network names every class somewhere on the image of the bench."""
    torch.manual_seed(2)
    made = DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2))
    head = made.decoder[-1]
    assert isinstance(head, torch.nn.Conv3d)
    assert head.bias is not None
    with torch.no_grad():
        image = torch.from_numpy(synthetic_image(SHAPE))[None, None]
        made.train()(image)
        made.eval()
        head.weight.mul_(20)
        head.bias.sub_(made(image).mean((0, 2, 3, 4)))
    card = {
        "name": "tiny", "version": "1", "architecture": made.architecture.to_dict(),
        "level_architecture": LevelArchitecture(width=4).to_dict(),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    return write_bundle(folder, card, made, LevelNet(LevelArchitecture(width=4)))


def times(median: float = 2.0) -> EngineTimes:
    return EngineTimes(
        "x", "float32", 1, 0.1, 0.2, 3.0, (median, 9.0, 1.0), (1.0, 1.0, 1.0), 100, 0.5
    )


# ---- the command ---------------------------------------------------------------------------


@pytest.mark.slow
def test_each_engine_runs_and_agrees(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    size = [str(n) for n in SHAPE]
    given = ["--bundle", str(tiny), "--runs", "2", "--threads", "1", "--json", "--shape", *size]
    assert run(["bench", "engines", *given]) == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert [rows[n]["times"]["engine"] for n in ("eager", "torch", "openvino")] == [
        "eager", "torch-cpu", "openvino-cpu",
    ]  # fmt: skip
    for row in rows.values():
        assert row["times"]["threads"] == 1 or row["name"] == "torch-cuda"
        assert len(row["times"]["runs_s"]) == len(row["times"]["cpu_s"]) == 2
        assert min(row["times"]["runs_s"]) > 0
        assert 50 < row["times"]["peak_mb"] < 20_000
    for name in ("torch", "openvino"):
        assert rows[name]["times"]["precision"] == "float32"
        assert rows[name]["agreement"]["equal"] >= 0.999
        assert rows[name]["agreement"]["equal_foreground"] >= 0.999
        assert rows[name]["agreement"]["structures"] == 8
        expected = rows["eager"]["times"]["median_s"] / rows[name]["times"]["median_s"]
        assert rows[name]["ratio"] == pytest.approx(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ["--shape", "16", "30", "16"],
            2,
            "--shape 16 30 16: every size has to be a multiple of 4",
        ),
        (["--shape", "4", "32", "16"], 2, "at least 16"),
        (["--runs", "0"], 2, "--runs"),
        (["--bundle", "nowhere"], 6, "nowhere"),
    ],
)
def test_what_cannot_be_measured(
    options: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["bench", "engines", *options]) == code
    assert said in capsys.readouterr().err


def test_a_bundle_without_a_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = write_coded_bundle(tmp_path / "oracle")
    assert run(["bench", "engines", "--bundle", str(coded)]) == 6
    assert "holds no network" in capsys.readouterr().err


# ---- engines that do not run ---------------------------------------------------------------------


def stub(monkeypatch: pytest.MonkeyPatch, **answers: EngineTimes | str) -> None:
    """Let the processes answer so; each leaves the same logits."""
    logits = np.zeros((9, 8, 8, 8), np.float32)
    logits[1, 2:4] = 1

    def answer(_: Plan, engine: str, folder: Path) -> EngineTimes | str:
        np.save(folder / f"{engine}.npy", logits)
        return answers.get(engine, times())

    monkeypatch.setattr(bench_engines, "_time_engine", answer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(("installed", "code"), [(True, 6), (False, 0)])
def test_an_engine_without_figures_is_named(
    tiny: Path,
    installed: bool,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub(monkeypatch, openvino="openvino cannot be imported", torch=times(0.5))
    monkeypatch.setattr(bench_command, "find_spec", lambda _: object() if installed else None)
    assert run(["bench", "engines", "--bundle", str(tiny)]) == code
    out, err = capsys.readouterr()
    assert "openvino: openvino cannot be imported" in err
    assert [line.split()[0] for line in out.splitlines() if "float32" in line] == ["eager", "torch"]
    assert "2.00" in next(line for line in out.splitlines() if line.startswith("torch"))


def test_without_the_measure_there_is_no_table(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, eager="out of memory")
    with pytest.raises(BenchFailed, match="out of memory"):
        measure(Plan(tiny, SHAPE), lambda _: None)


@pytest.mark.slow
def test_a_process_that_ends_at_once_is_a_sentence(tiny: Path, tmp_path: Path) -> None:
    plan = Plan(tiny, SHAPE, 1, 1)
    np.save(tmp_path / "image.npy", synthetic_image(SHAPE))
    said = bench_engines._time_engine(plan, "onnx", tmp_path)
    assert isinstance(said, str)
    assert "engine 'onnx' is unknown" in said


# ---- figures -------------------------------------------------------------------------------------


def test_agreement_counts_what_it_says() -> None:
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[:2] = 1  # 200 voxels
    expected[2, :5] = 5  # 50 voxels
    found = expected.copy()
    found[2, 0] = 0  # 10 missed
    found[9, 9, :4] = 1  # 4 too many
    agreement = compare_labels(found, expected)
    assert agreement.equal == pytest.approx(1 - 14 / 1000)
    assert agreement.equal_foreground == pytest.approx(1 - 14 / 254)
    assert agreement.lowest_structure == "n4"
    assert agreement.lowest_dice == pytest.approx(2 * 40 / 90)
    assert (agreement.structures, agreement.foreground_voxels) == (2, 250)


def test_without_a_foreground_nothing_is_claimed_about_it() -> None:
    empty = np.zeros((4, 4, 4), np.uint8)
    agreement = compare_labels(empty, empty)
    assert agreement.equal == 1
    assert (agreement.equal_foreground, agreement.lowest_dice, agreement.structures) == (
        None,
        None,
        0,
    )


def test_labels_are_taken_after_upsampling() -> None:
    """Between two half-resolution voxels the stronger logit reaches further."""
    logits = np.zeros((9, 1, 1, 2), np.float32)
    logits[0, ..., 0], logits[1, ..., 1] = 4, 1
    np.testing.assert_array_equal(to_labels(logits)[0, 0], [0, 0, 0, 1])


def test_the_image_is_the_same_each_time_and_a_z_score() -> None:
    image = synthetic_image(SHAPE)
    np.testing.assert_array_equal(image, synthetic_image(SHAPE))
    assert image.dtype == np.float32
    assert abs(float(image.mean())) < 1e-5
    assert float(image.std()) == pytest.approx(1, abs=1e-4)
    assert not np.array_equal(image, synthetic_image(SHAPE, seed=1))


def test_every_run_gets_another_image(tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[bytes] = []

    class Watching:
        name, precision = "x", "float32"

        def warm(self, shape: object) -> None:
            assert tuple(shape) == SHAPE  # type: ignore[call-overload]

        def run(self, patch: Any) -> Any:
            seen.append(patch.values.tobytes())
            return np.zeros((9, 8, 16, 8), np.float32)

    np.save(tmp_path / "image.npy", synthetic_image(SHAPE))
    monkeypatch.setattr(timing, "_engine", lambda *_: (Watching(), ""))
    times = timing._run("x", tiny, tmp_path, 4, 1)
    assert len(times.runs_s) == 4
    assert len(set(seen)) == 5


def test_the_median_is_of_the_runs_after_the_first() -> None:
    assert times().median_s == 2.0
    assert replace(times(), runs_s=(1.0, 3.0)).median_s == 2.0


def test_a_plan_of_the_paper_is_whole() -> None:
    bench_engines.check_plan(Plan(Path(), runs=1))
    with pytest.raises(UsageError):
        bench_engines.check_plan(Plan(Path(), (0, 240, 180)))


def test_without_torch_there_is_nothing_to_compare_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    assert run(["bench", "engines"]) == 6
    assert "torch, which is not installed; install it with `make install-gpu`" in (
        capsys.readouterr().err
    )
