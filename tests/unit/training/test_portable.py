"""TorchScript, ONNX and the MONAI bundle answer as the bundle does, at other sizes than that of the trace."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import openvino
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from dicomseg.structures import CHANNELS
from model.bundle.card import default_path
from model.bundle.load_torch import load_network
from model.grid import PAPER_SHAPE, SPACING_MM
from model.networks.coordinates import coordinate_channels
from training.cli.app import app
from training.errors import UsageError
from training.portable import write_monai, write_onnx, write_torchscript

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated"),
]
SIZE = (24, 32, 20)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def expected(image: torch.Tensor) -> torch.Tensor:
    """The shipped network itself, coordinates by the service's own function."""
    centre = [n // 2 for n in SIZE]
    coordinates = torch.from_numpy(coordinate_channels(SIZE, centre, SPACING_MM))[None]
    with torch.inference_mode():
        logits = load_network(default_path())(image, coordinates)
        return functional.interpolate(logits, scale_factor=2.0, mode="trilinear")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 0.001 of logits that span about 20, and the same best class but for ties."""
    assert found.shape == (1, CHANNELS, *SIZE)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert float((found.argmax(1) != expected.argmax(1)).float().mean()) < 1e-3


def test_the_command_writes_each_form_and_says_what_is_missing(tmp_path: Path) -> None:
    call = ["export", "--run", str(default_path()), "--out", str(tmp_path / "made.onnx")]
    done = CliRunner().invoke(app, [*call, "--as", "onnx"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "made.onnx.json").exists()
    for more, text in (
        ([], "a bundle needs --level and --version"),
        (["--as", "coreml"], "--as coreml is not known; give bundle, torchscript, onnx or monai"),
        (["--as", "onnx", "--version", "1"], "takes the networks of a bundle as they are"),
    ):
        with pytest.raises(UsageError, match=text):
            CliRunner().invoke(app, [*call, *more], catch_exceptions=False)


def test_torchscript_answers_as_the_bundle(
    tmp_path: Path, image: torch.Tensor, expected: torch.Tensor
) -> None:
    out = write_torchscript(default_path(), tmp_path / "model.ts")
    with torch.inference_mode():
        close(torch.jit.load(str(out))(image), expected)
    about = json.loads((tmp_path / "model.ts.json").read_text(encoding="utf-8"))
    assert about["input"]["spacing_mm"] == list(SPACING_MM)
    assert about["input"]["window"] == list(PAPER_SHAPE)
    assert about["output"]["channels"]["2"] == "ivd"
    assert "level finder" in about["not_in_it"]


def test_onnx_answers_as_the_bundle_in_another_engine(
    tmp_path: Path, image: torch.Tensor, expected: torch.Tensor
) -> None:
    out = write_onnx(default_path(), tmp_path / "model.onnx")
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = core.compile_model(core.read_model(str(out)), "CPU")([image.numpy()])[0]
    close(torch.from_numpy(found), expected)


def test_the_monai_bundle_parses_and_answers_as_the_bundle(
    tmp_path: Path, image: torch.Tensor, expected: torch.Tensor
) -> None:
    out = write_monai(default_path(), tmp_path / "monai")
    with torch.inference_mode():
        close(torch.jit.load(str(out / "models" / "model.ts"))(image), expected)
    metadata = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))
    required = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version"}
    required |= {"task", "description", "authors", "copyright", "network_data_format"}
    assert required <= metadata.keys()
    answer = metadata["network_data_format"]["outputs"]["pred"]
    assert answer["num_channels"] == CHANNELS == len(answer["channel_def"])
    config = json.loads((out / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert config["network"].endswith(".eval()")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = pytest.importorskip("monai.bundle")
        parser = bundle.ConfigParser({**config, "bundle_root": str(out)})
        with torch.inference_mode():
            close(parser.get_parsed_content("network")(image), expected)
        assert len(parser.get_parsed_content("preprocessing").transforms) == 6
