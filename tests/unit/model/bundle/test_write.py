"""A bundle holds weights that others can read, and the digest names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.bundle.load import load_bundle
from model.bundle.write import write_bundle
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet

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


def test_the_digest_names_the_weights(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(10)
    other = write_bundle(tmp_path / "other", CARD, DeepLabV3Plus3D(TINY), LevelNet(LEVEL))
    digests = {load_bundle(each, engine="torch").info.digest for each in (folder, other)}
    assert len(digests) == 2


def test_weights_are_readable_by_others(folder: Path) -> None:
    """A service that runs under its own user reads what another one exported."""
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(modes) == 1
