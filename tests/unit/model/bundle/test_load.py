"""A bundle is loaded as it was written or not at all."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicomseg.result import ModelError
from dicomseg.structures import CHANNELS
from dicomseg.volume import Volume
from model.bundle import load as loading
from model.bundle.card import CARD as CARD_FILE
from model.bundle.card import LEVEL_WEIGHTS, WEIGHTS, digest_of, graph_of, seal
from model.bundle.load import load_bundle
from model.bundle.write import write_bundle
from model.engines.graph_file import ConvertedGraph
from model.errors import BundleError, EngineError
from model.level.finder import NetworkFinder
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from model.networks.roots_unet import RootsNet
from model.networks.sizes import RootsArchitecture
from model.patch import Patch
from model.roots import ROOTS

TINY = Architecture(width=4, dilations=(1,), decoder=2)
LEVEL = LevelArchitecture(width=4)
CARD = {
    "name": "tiny",
    "version": "3.1",
    "architecture": TINY.to_dict(),
    "level_architecture": LEVEL.to_dict(),
    "model_sd_mm": {"OC_LEFT": 1.5},
}


@pytest.fixture
def network() -> DeepLabV3Plus3D:
    torch.manual_seed(9)
    return DeepLabV3Plus3D(TINY).eval()


@pytest.fixture
def folder(tmp_path: Path, network: DeepLabV3Plus3D) -> Path:
    return write_bundle(tmp_path / "tiny", CARD, network, LevelNet(LEVEL))


def reseal(folder: Path, **changes: Any) -> None:
    """Change the card as someone would who also computes the digest."""
    card = {**json.loads((folder / CARD_FILE).read_text()), **changes}
    card = {k: v for k, v in card.items() if v is not None and k != "digest"}
    card["digest"] = digest_of(card, folder)
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_a_written_bundle_answers_as_its_network(folder: Path, network: DeepLabV3Plus3D) -> None:
    model = load_bundle(folder, engine="torch", device="cpu")
    values = np.random.default_rng(1).normal(size=(8, 12, 16)).astype(np.float32)
    patch = Patch(values, np.ones(values.shape, bool), np.eye(4), 0.0, 1.0)
    with torch.inference_mode():
        expected = network(torch.from_numpy(values)[None, None])[0].numpy()
    np.testing.assert_allclose(model.engine.run(patch), expected, atol=1e-4)
    assert isinstance(model.finder, NetworkFinder)
    assert model.model_errors == {"OC_LEFT": ModelError(1.5)}
    assert (model.info.name, model.info.version) == ("tiny", "3.1")
    assert (model.info.engine, model.info.precision) == ("torch-cpu", "float32")


@pytest.mark.parametrize("key", ["architecture", "name", "version", "level_architecture"])
def test_a_card_without_a_needed_key_is_refused(folder: Path, key: str) -> None:
    reseal(folder, **{key: None})
    with pytest.raises(BundleError, match=key):
        load_bundle(folder)


def test_shifts_of_outlines_come_with_the_model(folder: Path) -> None:
    assert load_bundle(folder, engine="torch").outline_shifts == {}
    reseal(folder, outline_shifts={"aa": -1.0, "pm": 0.5})
    assert load_bundle(folder, engine="torch").outline_shifts == {"aa": -1.0, "pm": 0.5}


def test_a_share_goes_with_its_deviation(folder: Path) -> None:
    reseal(folder, model_sd_mm={"OC": 0.3, "PI": 0.2}, model_share={"OC": 0.5})
    model = load_bundle(folder, engine="torch")
    assert model.model_errors == {"OC": ModelError(0.3, 0.5), "PI": ModelError(0.2)}


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    reseal(folder, architecture=Architecture(width=8).to_dict())
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder)


def test_weights_that_are_no_tensors_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"no tensors")
    reseal(folder, files=None)
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder)


@pytest.mark.parametrize("key", ["model_sd_mm", "outline_shifts"])
def test_a_calibration_that_is_not_a_table_is_refused(folder: Path, key: str) -> None:
    reseal(folder, **{key: [1.5]})
    with pytest.raises(BundleError, match=f"card.json: {key} is not a table"):
        load_bundle(folder, engine="torch")


@pytest.mark.parametrize("name", [WEIGHTS, LEVEL_WEIGHTS])
def test_changed_weights_are_refused_by_the_file_s_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-5] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


@pytest.fixture
def with_graphs(tmp_path: Path, network: DeepLabV3Plus3D) -> Path:
    roots = RootsNet(RootsArchitecture(width=4, deep=(4, 8, 8), places=True))
    folder = tmp_path / "graphs"
    return write_bundle(folder, CARD, network, LevelNet(LEVEL), roots, graphs=True)


def test_graphs_answer_as_the_networks_beside_them(with_graphs: Path) -> None:
    by_graph = load_bundle(with_graphs, engine="openvino", threads=1)
    by_torch = load_bundle(with_graphs, engine="torch", device="cpu")
    assert (by_graph.info.engine, by_graph.info.precision) == ("openvino-cpu", "float32")
    assert by_graph.info.digest == by_torch.info.digest
    values = np.random.default_rng(1).normal(size=(16, 24, 32)).astype(np.float32)
    patch = Patch(values, np.ones(values.shape, bool), np.eye(4), 0.0, 1.0)
    predicted, expected = (model.predict(patch) for model in (by_graph, by_torch))
    np.testing.assert_allclose(predicted.logits, expected.logits, atol=1e-4)
    assert predicted.fine is not None
    assert expected.fine is not None
    np.testing.assert_allclose(predicted.fine.logit, expected.fine.logit, atol=1e-4)
    grid = Volume(values, np.eye(4))
    finders = [model.finder for model in (by_graph, by_torch)]
    heats = [finder.heat(grid).maps for finder in finders if isinstance(finder, NetworkFinder)]
    np.testing.assert_allclose(heats[0], heats[1], atol=1e-5)


@pytest.mark.parametrize("name", ["weights", "level", "roots"])
def test_a_changed_or_missing_graph_is_refused_by_its_name(with_graphs: Path, name: str) -> None:
    path = with_graphs / graph_of(f"{name}.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(BundleError, match=rf"{name}\.graph\.zip has changed"):
        load_bundle(with_graphs)
    path.unlink()
    with pytest.raises(BundleError, match=rf"{name}\.graph\.zip is missing"):
        load_bundle(with_graphs)


def test_a_graph_that_a_bundle_does_not_name_is_refused(folder: Path, with_graphs: Path) -> None:
    name = graph_of(WEIGHTS)
    (folder / name).write_bytes((with_graphs / name).read_bytes())
    with pytest.raises(BundleError, match="the digest does not match"):
        load_bundle(folder)


def test_graphs_of_other_weights_are_run_by_torch_where_it_is_and_that_is_said(
    with_graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_graphs / graph_of(WEIGHTS)
    made = ConvertedGraph.read(path)
    replace(made, expected=made.expected + 1).write(path)
    card = json.loads((with_graphs / CARD_FILE).read_text())
    (with_graphs / CARD_FILE).write_text(json.dumps(seal(card, with_graphs)))
    model = load_bundle(with_graphs, device="cpu")
    assert model.info.engine == "torch-cpu"
    assert model.note.startswith("plain torch, several times slower: OpenVINO's output differs")
    with pytest.raises(EngineError, match="differs from the network's"):
        load_bundle(with_graphs, engine="openvino")
    monkeypatch.setattr(loading, "has_torch", lambda: False)
    with pytest.raises(EngineError, match="differs from the network's"):
        load_bundle(with_graphs, device="cpu")


@pytest.mark.parametrize(
    "fault", [None, OSError("libopenvino.so: cannot open"), RuntimeError("a\nb")]
)
def test_without_openvino_auto_is_torch_and_says_so(
    with_graphs: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    real = importlib.import_module

    def damaged(name: str) -> Any:
        if name == "openvino":
            raise fault or ImportError("No module named 'openvino'")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", damaged)
    model = load_bundle(with_graphs, device="cpu")
    assert (model.info.engine, model.info.precision) == ("torch-cpu", "float32")
    assert "openvino is damaged" in model.note or "openvino cannot be imported" in model.note
    assert "\n" not in model.note
    with pytest.raises(EngineError, match=r"set \[model\] engine") as refusal:
        load_bundle(with_graphs, engine="openvino")
    assert refusal.value.exit_code == 6


def test_a_bundle_without_graphs_is_converted_where_torch_is_else_refused_with_what_to_do(
    folder: Path, network: DeepLabV3Plus3D, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_bundle(folder, engine="openvino", cache=tmp_path / "cache")
    assert (model.info.engine, model.note) == ("openvino-cpu", "")
    values = np.random.default_rng(1).normal(size=(8, 12, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(values)[None, None])[0].numpy()
    patch = Patch(values, np.ones(values.shape, bool), np.eye(4), 0.0, 1.0)
    np.testing.assert_allclose(model.engine.run(patch), expected, atol=1e-4)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(loading, "has_torch", lambda: False)
    with pytest.raises(BundleError, match="holds no converted graphs") as refusal:
        load_bundle(folder, device="cpu")
    assert refusal.value.exit_code == 6
    assert "lumbar-train export" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_threads_of_torch_are_set_only_when_asked_for(folder: Path, engine: str) -> None:
    """Conversion included, which runs the network once."""
    before = torch.get_num_threads()
    try:
        load_bundle(folder, engine=engine, device="cpu")
        assert torch.get_num_threads() == before
        load_bundle(folder, engine=engine, device="cpu", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class _Fake:
    """An engine and a refiner that count their calls and answer with given arrays."""

    name, precision, interpolation = "fake", "float32", "linear"

    def __init__(self, logits: np.ndarray, fine: np.ndarray) -> None:
        self._logits, self._fine = logits, fine

    def run(self, patch: Patch) -> np.ndarray:
        assert patch.values.shape == self._fine.shape
        return self._logits

    def logits(self, patch: Patch, logits: np.ndarray) -> np.ndarray:
        assert patch.values.shape == self._fine.shape
        assert logits is self._logits
        return self._fine


def test_a_prediction_holds_logits_scores_and_the_fine_roots(folder: Path) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(CHANNELS, 4, 6, 8)).astype(np.float32)
    fine = rng.normal(size=(8, 12, 16)).astype(np.float32)
    fake: Any = _Fake(logits, fine)
    model = replace(load_bundle(folder, engine="torch"), engine=fake)
    patch = Patch(
        np.zeros((8, 12, 16), np.float32), np.ones((8, 12, 16), bool), np.eye(4), 0.0, 1.0
    )
    stages: list[str] = []
    coarse = model.predict(patch, stages.append)
    assert stages == ["network"]
    assert coarse.fine is None
    np.testing.assert_array_equal(coarse.scores.logits, logits)
    refined = replace(model, roots=fake).predict(patch, stages.append)
    assert stages == ["network", "network", "roots"]
    assert refined.fine is not None
    assert refined.fine.channel == ROOTS
    assert refined.fine.logit is fine
    np.testing.assert_array_equal(refined.logits, logits)
    np.testing.assert_array_equal(
        np.delete(refined.scores.logits, ROOTS, axis=0), np.delete(logits, ROOTS, axis=0)
    )
    means = fine.reshape(4, 2, 6, 2, 8, 2).mean((1, 3, 5))
    lead = refined.scores.logits[ROOTS] - np.delete(logits, ROOTS, axis=0).max(0)
    np.testing.assert_allclose(lead, means, atol=1e-5)
    np.testing.assert_allclose(refined.scores.affine, np.diag([2.0, 2.0, 2.0, 1.0]) + _HALF)


_HALF = np.array([[0, 0, 0, 0.5]] * 3 + [[0, 0, 0, 0]])
