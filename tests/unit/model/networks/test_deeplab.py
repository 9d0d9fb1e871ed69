"""The network's shapes, gradients and card."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from dicomseg.structures import CHANNELS
from model.networks.coordinates import coordinate_channels
from model.networks.deeplab import Architecture, DeepLabV3Plus3D, Norm

TINY = Architecture(width=4, dilations=(1, 2), decoder=2)


@pytest.fixture
def network() -> DeepLabV3Plus3D:
    torch.manual_seed(3)
    return DeepLabV3Plus3D(TINY).eval()


@pytest.mark.parametrize("shape", [(16, 24, 20), (12, 16, 40), (28, 20, 16)])
def test_logits_have_half_the_grid(network: DeepLabV3Plus3D, shape: tuple[int, int, int]) -> None:
    with torch.inference_mode():
        logits = network(torch.randn(2, 1, *shape))
    assert tuple(logits.shape) == (2, CHANNELS, *(n // 2 for n in shape))


def test_the_default_network_has_the_size_of_the_paper_s_order() -> None:
    count = sum(p.numel() for p in DeepLabV3Plus3D(Architecture()).parameters())
    assert 100_000 < count < 2_000_000


@pytest.mark.parametrize("norm", get_args(Norm))
def test_either_norm_trains(norm: Norm) -> None:
    network = DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2, norm=norm))
    network(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_a_sample_is_answered_the_same_in_a_batch_and_alone(
    network: DeepLabV3Plus3D,
) -> None:
    images = torch.randn(2, 1, 16, 20, 12)
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-5, rtol=1e-4)


def test_the_card_s_architecture_comes_back() -> None:
    wide = Architecture(width=12, dilations=(1, 3), decoder=4, norm="instance")
    assert Architecture.from_dict(wide.to_dict()) == wide
    with pytest.raises(TypeError, match="strides"):
        Architecture.from_dict({**wide.to_dict(), "strides": 2})


def test_another_architecture_is_not_taken_for_this_one() -> None:
    with pytest.raises(ValueError, match="'unet'"):
        Architecture.from_dict({**TINY.to_dict(), "name": "unet"})


def test_a_card_from_before_an_option_has_its_default() -> None:
    old = {k: v for k, v in TINY.to_dict().items() if k != "separable_stem"}
    assert Architecture.from_dict(old) == TINY


def test_a_card_of_the_first_versions_normalises_each_image() -> None:
    old = {k: v for k, v in TINY.to_dict().items() if k != "norm"}
    assert Architecture.from_dict({**old, "groups": 0}) == replace(TINY, norm="instance")
    with pytest.raises(TypeError):
        Architecture.from_dict({**TINY.to_dict(), "groups": 4})
    with pytest.raises(ValueError, match="layer"):
        Architecture.from_dict({**TINY.to_dict(), "norm": "layer"})


def test_with_fixed_statistics_a_crop_is_answered_like_the_whole(
    network: DeepLabV3Plus3D,
) -> None:
    image = torch.randn(1, 1, 64, 16, 16)
    with torch.inference_mode():
        whole, part = network(image), network(image[:, :, :48])
    # the pyramid reaches 8 + 1 voxels of stride 4 from either end
    torch.testing.assert_close(whole[:, :, :4], part[:, :, :4], atol=1e-5, rtol=1e-4)


def test_a_dense_stem_has_more_weights_and_the_same_grid() -> None:
    dense = DeepLabV3Plus3D(replace(TINY, separable_stem=False))
    assert sum(p.numel() for p in dense.stem.parameters()) > sum(
        p.numel() for p in DeepLabV3Plus3D(TINY).stem.parameters()
    )
    with torch.inference_mode():
        assert tuple(dense(torch.randn(1, 1, 16, 16, 16)).shape) == (1, CHANNELS, 8, 8, 8)


def test_a_network_that_is_told_its_places_listens_once_it_has_learned_to() -> None:
    torch.manual_seed(3)
    network = DeepLabV3Plus3D(replace(TINY, position=6)).eval()
    image, spacing = torch.randn(1, 1, 16, 24, 20), (0.8, 0.75, 0.75)
    here, there = (
        torch.from_numpy(coordinate_channels((16, 24, 20), c, spacing))[None]
        for c in (None, (0.0, 9.0, 4.0))
    )
    with torch.inference_mode():
        torch.testing.assert_close(network(image, here), network(image, there))
        # far louder than in training: this network's own signals have not been scaled by any image
        torch.nn.init.normal_(network.position[2].weight, std=100.0)  # type: ignore[index]
        assert not torch.allclose(network(image, here), network(image, there), atol=1e-2)
    assert Architecture.from_dict(network.architecture.to_dict()) == network.architecture


@pytest.mark.parametrize("channels", [CHANNELS - 1, CHANNELS + 3])
def test_a_network_has_a_channel_for_the_background_and_each_structure(channels: int) -> None:
    assert TINY.to_dict()["channels"] == CHANNELS
    with pytest.raises(ValueError, match=f"{channels} channels; background and structures are 9"):
        Architecture.from_dict({**TINY.to_dict(), "channels": channels})
