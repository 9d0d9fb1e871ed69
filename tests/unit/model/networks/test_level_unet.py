"""The level network: grids of its heat maps, and several networks as one."""

from __future__ import annotations

import pytest
import torch

from model.networks.level_unet import (
    HeatNet,
    LevelArchitecture,
    LevelNet,
    LevelNets,
    build_level_network,
    untrained_level_network,
)
from model.networks.sizes import HEAT_FACTOR


@pytest.mark.parametrize("shape", [(16, 16, 4), (35, 61, 5), (9, 8, 3)])
def test_heat_maps_cover_thin_and_odd_grids(shape: tuple[int, int, int]) -> None:
    network = LevelNet(LevelArchitecture(width=4)).eval()
    with torch.inference_mode():
        heat = network(torch.zeros(1, 1, *shape))
    expected = tuple(-(-n // f) for n, f in zip(shape, HEAT_FACTOR, strict=True))
    assert tuple(heat.shape) == (1, LevelArchitecture().discs, *expected)


def test_several_networks_answer_with_their_mean_and_survive_their_own_weights() -> None:
    torch.manual_seed(1)
    architecture = LevelArchitecture(width=4, members=2)
    networks = untrained_level_network(architecture)
    assert isinstance(networks, LevelNets)
    image = torch.randn(1, 1, 12, 10, 6)
    with torch.inference_mode():
        one, other = (torch.sigmoid(member(image)) for member in networks.members)
        torch.testing.assert_close(torch.sigmoid(networks(image)), (one + other) / 2)
    assert not torch.allclose(one, other, atol=1e-3)
    again = build_level_network(architecture.to_dict(), networks.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(HeatNet(again)(image), (one + other) / 2)
    with pytest.raises(RuntimeError):
        build_level_network(LevelArchitecture(width=4).to_dict(), networks.state_dict())
