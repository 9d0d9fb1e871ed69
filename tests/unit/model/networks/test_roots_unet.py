"""The roots network: its sizes in a card."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dicomseg.structures import CHANNELS
from model.networks.roots_unet import RootsNet, build_roots_network
from model.networks.sizes import RootsArchitecture

TINY = RootsArchitecture(width=4, deep=(4, 8, 8))


def test_an_architecture_of_another_name_is_refused() -> None:
    assert RootsArchitecture.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ValueError, match="is not"):
        RootsArchitecture.from_dict({**TINY.to_dict(), "name": "level-unet-2"})


@pytest.mark.parametrize("places", [False, True])
def test_the_guidance_has_the_probabilities_and_with_places_the_coordinates(places: bool) -> None:
    architecture = replace(TINY, places=places)
    assert architecture.guidance_count == (CHANNELS + 3 if places else CHANNELS)
    network = RootsNet(architecture).eval()
    guidance = torch.randn(1, architecture.guidance_count, 4, 8, 12)
    with torch.inference_mode():
        assert tuple(network(torch.randn(1, 1, 8, 16, 24), guidance).shape) == (1, 1, 8, 16, 24)
    built = build_roots_network(architecture.to_dict(), network.state_dict())
    assert built.architecture == architecture
    assert not built.training
