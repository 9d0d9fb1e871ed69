"""Starting weights: the same function where the statistics are the same, refusals where they cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bundle import write_bundle
from model.network import Architecture, DeepLabV3Plus3D
from training.errors import OptionsRefused
from training.start import starting_network, with_fixed_statistics

TINY = Architecture(width=4, dilations=(1, 2), decoder=2, norm="instance")


@pytest.fixture
def network() -> DeepLabV3Plus3D:
    torch.manual_seed(2)
    return DeepLabV3Plus3D(TINY).eval()


def test_fixed_statistics_of_one_image_give_its_answer(network: DeepLabV3Plus3D) -> None:
    image, other = torch.randn(2, 1, 1, 16, 16, 16).unbind(0)
    fixed = with_fixed_statistics(network, [image])
    with torch.inference_mode():
        torch.testing.assert_close(fixed(image), network(image), atol=1e-4, rtol=1e-3)
        assert not torch.allclose(fixed(2 * other), network(2 * other), atol=1e-2)


def test_a_bundle_is_started_from_and_another_architecture_is_refused(
    network: DeepLabV3Plus3D, tmp_path: Path
) -> None:
    card = {"name": "n", "version": "1", "architecture": TINY.to_dict(), "level_architecture": {}}
    bundle = write_bundle(tmp_path / "bundle", card, network, torch.nn.Linear(1, 1))
    same = starting_network(bundle, TINY, [])
    for name, value in network.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    with pytest.raises(OptionsRefused, match="width=8"):
        starting_network(bundle, replace(TINY, width=8, norm="batch"), [])
