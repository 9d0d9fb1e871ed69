"""A bundle is loaded as it was written or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicomseg.result import ModelError
from dicomseg.structures import CHANNELS
from model.bundle.card import CARD as CARD_FILE
from model.bundle.card import LEVEL_WEIGHTS, WEIGHTS, digest_of
from model.bundle.load import load_bundle
from model.bundle.write import write_bundle
from model.errors import BundleError
from model.level.finder import NetworkFinder
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
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
