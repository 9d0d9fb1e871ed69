"""A bundle is loaded as it was written or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicomseg.result import ModelError
from model.bundle.card import CARD as CARD_FILE
from model.bundle.card import LEVEL_WEIGHTS, SCHEMA, WEIGHTS, digest_of, structure_table
from model.bundle.load import load_bundle
from model.bundle.write import write_bundle
from model.errors import BundleError
from model.level.finder import NetworkFinder
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from model.patch import Patch

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


def test_the_digest_names_the_weights(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(10)
    other = write_bundle(tmp_path / "other", CARD, DeepLabV3Plus3D(TINY), LevelNet(LEVEL))
    digests = {load_bundle(each, engine="torch").info.digest for each in (folder, other)}
    assert len(digests) == 2


@pytest.mark.parametrize("name", [WEIGHTS, LEVEL_WEIGHTS])
def test_a_changed_byte_is_refused_by_the_file_s_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-5] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=name) as refusal:
        load_bundle(folder)
    assert refusal.value.exit_code == 6


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / LEVEL_WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"level\.safetensors"):
        load_bundle(folder)


def test_a_changed_card_is_refused(folder: Path) -> None:
    path = folder / CARD_FILE
    path.write_text(path.read_text().replace('"3.1"', '"3.2"'))
    with pytest.raises(BundleError, match="digest"):
        load_bundle(folder)


def test_another_structure_table_is_refused(folder: Path) -> None:
    table = structure_table()
    table[0], table[2] = {**table[0], "id": "l5"}, {**table[2], "id": "l4"}
    reseal(folder, structures=table)
    with pytest.raises(BundleError, match="structure table"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "grid", [None, {"spacing_mm": [0.8, 0.8, 0.8], "window": [128, 240, 180]}, "paper"]
)
def test_another_grid_is_refused(folder: Path, grid: Any) -> None:
    reseal(folder, grid=grid)
    with pytest.raises(BundleError, match="the grid differs"):
        load_bundle(folder)


def test_weights_are_readable_by_others(folder: Path) -> None:
    """A service that runs under its own user reads what another one exported."""
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(modes) == 1


def test_another_schema_is_refused(folder: Path) -> None:
    reseal(folder, schema=SCHEMA + 1)
    with pytest.raises(BundleError, match=f"schema {SCHEMA + 1}"):
        load_bundle(folder)


@pytest.mark.parametrize("key", ["architecture", "name", "version", "level_architecture"])
def test_a_card_without_a_needed_key_is_refused(folder: Path, key: str) -> None:
    reseal(folder, **{key: None})
    with pytest.raises(BundleError, match=key):
        load_bundle(folder)


@pytest.mark.parametrize("key", ["model_sd_mm", "model_share"])
@pytest.mark.parametrize("told", [[1.5], {"OC": -0.1}, {"OC": "1.5"}, {"OC": float("nan")}])
def test_errors_of_a_model_that_are_no_sizes_are_refused(folder: Path, key: str, told: Any) -> None:
    reseal(folder, **{key: told})
    with pytest.raises(BundleError, match=f"card.json: {key} is not a table"):
        load_bundle(folder, engine="torch")


@pytest.mark.parametrize("told", [[1.5], {"aorta": -1.0}, {"aa": "1"}, {"aa": float("nan")}])
def test_shifts_of_outlines_that_are_none_are_refused(folder: Path, told: Any) -> None:
    reseal(folder, outline_shifts=told)
    with pytest.raises(BundleError, match=r"card.json: outline_shifts is not a table"):
        load_bundle(folder, engine="torch")


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


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_a_folder_without_a_card_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / CARD_FILE).write_text(text)
    with pytest.raises(BundleError, match=r"card\.json"):
        load_bundle(tmp_path)
