"""Starting weights: the same function where the statistics are the same, refusals where they cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.bundle.write import write_bundle
from model.networks.coordinates import coordinate_channels
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from training.errors import UsageError
from training.fit.augment import Sample
from training.fit.initial_weights import (
    initial_network,
    widened,
    with_context,
    with_fixed_statistics,
)

TINY = Architecture(width=4, dilations=(1, 2), decoder=2, norm="instance")


def window(image: torch.Tensor) -> Sample:
    """One window of (1, 1, D, H, W) with the level in its middle."""
    place = torch.from_numpy(coordinate_channels(image.shape[2:], None, (0.8, 0.75, 0.75)))[None]
    return Sample(image, torch.zeros(1), torch.zeros(1), place)


@pytest.fixture
def network() -> DeepLabV3Plus3D:
    torch.manual_seed(2)
    return DeepLabV3Plus3D(TINY).eval()


def test_fixed_statistics_of_one_image_give_its_answer(network: DeepLabV3Plus3D) -> None:
    image, other = torch.randn(2, 1, 1, 16, 16, 16).unbind(0)
    fixed = with_fixed_statistics(network, [window(image)])
    with torch.inference_mode():
        torch.testing.assert_close(fixed(image), network(image), atol=1e-4, rtol=1e-3)
        assert not torch.allclose(fixed(2 * other), network(2 * other), atol=1e-2)


def test_an_instance_normalised_bundle_is_told_its_places_and_its_statistics_are_fixed(
    network: DeepLabV3Plus3D, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows that give the statistics come with their places."""
    card = {"name": "n", "version": "1", "architecture": TINY.to_dict(), "level_architecture": {}}
    bundle = write_bundle(tmp_path / "bundle", card, network, torch.nn.Linear(1, 1))
    image = torch.randn(1, 1, 16, 16, 16)
    monkeypatch.setattr("training.fit.initial_weights.load_case", lambda path: path)
    monkeypatch.setattr("training.fit.initial_weights.window_sample", lambda _: window(image))
    wanted = replace(TINY, norm="batch", position=4, context=8)
    initial = initial_network(bundle, wanted, [tmp_path / "one.npz"])
    assert initial.architecture == wanted
    with torch.inference_mode():
        place = window(image).coordinates
        torch.testing.assert_close(initial(image, place), network(image), atol=1e-4, rtol=1e-3)


def test_a_bundle_is_started_from_and_another_architecture_is_refused(
    network: DeepLabV3Plus3D, tmp_path: Path
) -> None:
    card = {"name": "n", "version": "1", "architecture": TINY.to_dict(), "level_architecture": {}}
    bundle = write_bundle(tmp_path / "bundle", card, network, torch.nn.Linear(1, 1))
    same = initial_network(bundle, TINY, [])
    for name, value in network.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    with pytest.raises(UsageError, match="width=3"):
        initial_network(bundle, replace(TINY, width=3), [])
    with pytest.raises(UsageError, match="stem=2"):
        initial_network(bundle, replace(TINY, stem=2), [])
    tapped = replace(TINY, late_tap=True)
    taps = DeepLabV3Plus3D(tapped).eval()
    later_card = {**card, "architecture": tapped.to_dict()}
    later = write_bundle(tmp_path / "later", later_card, taps, torch.nn.Linear(1, 1))
    for refused in (
        replace(tapped, stem=8),
        TINY,
    ):  # the joined channels would be mixed up, or lost
        with pytest.raises(UsageError, match="has the architecture"):
            initial_network(later, refused, [])
    doubled = initial_network(later, replace(tapped, width=8), [])
    with pytest.raises(UsageError, match="decoder=3"):
        initial_network(bundle, replace(TINY, decoder=3), [])
    image = torch.randn(1, 1, 16, 16, 16)
    place = coordinate_channels((16, 16, 16), (2.0, 9.0, 5.0), (0.8, 0.75, 0.75))
    place = torch.from_numpy(place)[None]
    with torch.inference_mode():
        torch.testing.assert_close(doubled(image), taps(image), atol=1e-4, rtol=1e-3)
        initial = initial_network(bundle, replace(TINY, position=4, width=6), [])
        torch.testing.assert_close(initial(image, place), network(image), atol=1e-4, rtol=1e-3)
        wide = initial_network(bundle, replace(TINY, width=6), [])
        torch.testing.assert_close(wide(image), network(image), atol=1e-4, rtol=1e-3)
        further = initial_network(bundle, replace(TINY, width=6, context=8), [])
        torch.testing.assert_close(further(image), network(image), atol=1e-4, rtol=1e-3)


def test_a_context_is_silent_at_first_normalised_by_the_windows_and_learns(
    network: DeepLabV3Plus3D,
) -> None:
    """Without the windows' statistics, which training keeps, fourteen convolutions would let nothing through."""
    network = with_fixed_statistics(network, [window(torch.randn(1, 1, 16, 16, 16))])
    wanted = replace(network.architecture, context=8)
    image = torch.randn(2, 1, 32, 28, 36)
    samples = [window(i[None]) for i in image]
    made = with_context(network, wanted, samples)
    torch.testing.assert_close(made(image), network(image))
    assert made.context is not None
    seen: list[torch.Tensor] = []
    made.context.out.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    made(image).square().sum().backward()
    assert 0.3 < float(seen[0].std()) < 6
    assert made.context.out.weight.grad is not None
    assert made.context.out.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="nothing to add"):
        with_context(network, network.architecture, samples)


@pytest.mark.parametrize(
    "wider",
    [{"width": 6}, {"width": 8}, {"stem": 8, "late_tap": True}, {"width": 6, "stem": 6}],
    ids=str,
)
def test_a_wider_network_answers_the_same_and_its_copies_learn_apart(
    network: DeepLabV3Plus3D, wider: dict[str, Any]
) -> None:
    network = with_fixed_statistics(network, [window(torch.randn(1, 1, 16, 16, 16))])
    wide = widened(network, replace(network.architecture, **wider))
    image = torch.randn(2, 1, 16, 24, 16)
    torch.testing.assert_close(wide(image), network(image), atol=1e-4, rtol=1e-3)
    wide(image).square().sum().backward()
    first = wide.stem[0][0].weight  # channels 0 and 1 are copies of one
    assert torch.equal(first[0], first[1])
    assert first.grad is not None
    if wide.architecture.late_tap:
        tap = wide.low[0].weight
        assert not tap[:, 16:].any()
        assert tap.grad is not None
        assert tap.grad[:, 16:].any()  # silent, but it learns
    one, other = (g.flatten() for g in first.grad[:2])
    assert torch.nn.functional.cosine_similarity(one, other, dim=0).abs() < 0.999
