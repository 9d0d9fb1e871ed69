"""Statistics are those of the weights as they stand, whatever they were before."""

from __future__ import annotations

import torch

from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from training.fit.norms import retake_statistics

TINY = Architecture(width=4, decoder=2, dilations=(1,))


def test_statistics_are_the_mean_over_the_inputs_and_nothing_else_changes() -> None:
    torch.manual_seed(1)
    network = DeepLabV3Plus3D(TINY).eval()
    before = {k: v.clone() for k, v in network.named_parameters()}
    images = [torch.randn(1, 1, 8, 8, 8) * (n + 1) for n in range(3)]
    first = network.stem[0][0]
    norm = network.stem[0][1]
    norm.running_mean.fill_(7.0)  # of weights that have since changed
    retake_statistics(network, [(image, torch.zeros(1, 3, 2, 2, 2)) for image in images])
    with torch.no_grad():
        means = torch.stack([first(image).mean((0, 2, 3, 4)) for image in images])
        spread = torch.stack([first(image).var((0, 2, 3, 4)) for image in images])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, spread.mean(0))
    assert int(norm.num_batches_tracked) == 3
    assert not network.training
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]), name
